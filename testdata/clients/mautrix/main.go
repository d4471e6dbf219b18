// Command client does what an app does with mautrix-go: it logs in, syncs, sets a pusher,
// changes push rules, reads, redacts and logs out. It fails at the first thing that does not
// work. It is a module of its own, so that poked does not depend on the library.
//
//	client <base url> <user> <password> <gateway url> <pushkey> <room> <up|down>
//	client webpush <base url> <user id> <access token>
//
// It prints "ready" when a message may come to the room, and "read" once it has read it. After
// each it goes on once it is told so by a line of standard input.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/pushrules"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if args[0] == "webpush" {
		return webPush(ctx, args[1], id.UserID(args[2]), args[3])
	}
	baseURL, user, password, gateway, pushkey, room, phase := args[0], args[1], args[2], args[3], args[4], id.RoomID(args[5]), args[6]
	client, err := mautrix.NewClient(baseURL, "", "")
	if err != nil {
		return err
	}
	_, err = client.Login(ctx, &mautrix.ReqLogin{
		Type: mautrix.AuthTypePassword, Password: password, StoreCredentials: true,
		Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: user},
	})
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	synced, hello := make(chan struct{}, 1), make(chan id.EventID, 1)
	syncer := mautrix.NewDefaultSyncer()
	client.Syncer = syncer
	syncer.OnSync(func(context.Context, *mautrix.RespSync, string) bool {
		select {
		case synced <- struct{}{}:
		default:
		}
		return true
	})
	syncer.OnEventType(event.EventMessage, func(_ context.Context, ev *event.Event) {
		if ev.RoomID == room && ev.Content.AsMessage().Body == "hello" {
			hello <- ev.ID
		}
	})
	go func() { _ = client.SyncWithContext(ctx) }() // ends with ctx
	if err := await(ctx, synced); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := changes(ctx, client, gateway, pushkey); err != nil {
		return err
	}
	if _, err := client.JoinRoomByID(ctx, room); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if phase == "up" {
		told := bufio.NewReader(os.Stdin)
		fmt.Println("ready")
		var said id.EventID
		select {
		case said = <-hello:
		case <-ctx.Done():
			return fmt.Errorf("wait for the message: %w", ctx.Err())
		}
		if _, err := told.ReadString('\n'); err != nil {
			return fmt.Errorf("wait to read: %w", err)
		}
		if err := client.SendReceipt(ctx, room, said, event.ReceiptTypeRead, nil); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		fmt.Println("read")
		if _, err := told.ReadString('\n'); err != nil {
			return fmt.Errorf("wait to go on: %w", err)
		}
		sent, err := client.SendText(ctx, room, "by mistake")
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		if _, err := client.RedactEvent(ctx, room, sent.EventID); err != nil {
			return fmt.Errorf("redact: %w", err)
		}
	}
	if _, err := client.Logout(ctx); err != nil {
		return fmt.Errorf("log out: %w", err)
	}
	return nil
}

// changes sets and lists a pusher, and makes, changes and deletes a push rule.
func changes(ctx context.Context, client *mautrix.Client, gateway, pushkey string) error {
	pusher := map[string]any{
		"pushkey": pushkey, "kind": "http", "app_id": "org.example.mautrix", "app_display_name": "Live",
		"device_display_name": "Go", "lang": "en", "data": map[string]any{"url": gateway}, "append": true,
	}
	if _, err := client.MakeRequest(ctx, "POST", client.BuildClientURL("v3", "pushers", "set"), pusher, nil); err != nil {
		return fmt.Errorf("set pusher: %w", err)
	}
	list, err := client.GetPushers(ctx)
	if err != nil {
		return fmt.Errorf("list pushers: %w", err)
	}
	found := false
	for _, p := range list.Pushers {
		found = found || p.PushKey == pushkey
	}
	if !found {
		return fmt.Errorf("the pusher is not listed")
	}
	const rule = "live"
	err = client.PutPushRule(ctx, "global", pushrules.ContentRule, rule, &mautrix.ReqPutPushRule{
		Pattern: "rhubarb", Actions: []*pushrules.PushAction{{Action: pushrules.ActionNotify}},
	})
	if err != nil {
		return fmt.Errorf("make rule: %w", err)
	}
	got, err := client.GetPushRule(ctx, "global", pushrules.ContentRule, rule)
	if err != nil || got.Pattern != "rhubarb" {
		return fmt.Errorf("get rule: %+v, %w", got, err)
	}
	if _, err := client.GetPushRules(ctx); err != nil {
		return fmt.Errorf("get rules: %w", err)
	}
	if err := client.SetPushRuleEnabled(ctx, "global", pushrules.ContentRule, rule, false); err != nil {
		return fmt.Errorf("disable rule: %w", err)
	}
	if err := client.DeletePushRule(ctx, "global", pushrules.ContentRule, rule); err != nil {
		return fmt.Errorf("delete rule: %w", err)
	}
	return nil
}

func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
