package publish_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/publish"
)

func TestPublisherRefusesWhatCannotBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		p := publish.NewPublisher(server.Connect(natstest.Topology()))
		ctx := t.Context()
		for name, err := range map[string]error{
			"event":                  p.Event(ctx, []byte(`{"content":"CANARY"}`)),
			"receipt: no JSON":       p.Receipt(ctx, []byte(`{"CANARY`)),
			"receipt: other type":    p.Receipt(ctx, []byte(`{"type":"CANARY","room_id":"!r","content":{"$e":{"m.read":{"@a:x":{}}}}}`)),
			"receipt: no room":       p.Receipt(ctx, []byte(`{"type":"m.receipt","content":{"$CANARY":{"m.read":{"@a:x":{}}}}}`)),
			"receipt: no event":      p.Receipt(ctx, []byte(`{"type":"m.receipt","room_id":"!CANARY","content":{}}`)),
			"receipt: wrong shape":   p.Receipt(ctx, []byte(`{"type":"m.receipt","room_id":"!r","content":{"$CANARY":["m.read"]}}`)),
			"receipt: too large":     p.Receipt(ctx, []byte(`{"pad":"`+strings.Repeat("CANARY", events.MaxEventBytes)+`"}`)),
			"logout: nobody":         p.Logout(ctx, "", "DEVICE"),
			"deactivated: too long":  p.Deactivated(ctx, events.UserID(strings.Repeat("CANARY", 100))),
			"push rules: no object":  p.PushRules(ctx, "@a:x", json.RawMessage(`["CANARY"]`)),
			"push rules: not JSON":   p.PushRules(ctx, "@a:x", json.RawMessage(`{"CANARY`)),
			"asynchronous bad event": eventAsync(p, `{"content":"CANARY"}`),
		} {
			if !errors.Is(err, events.ErrBadEvent) || strings.Contains(err.Error(), "CANARY") {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, stream := range []string{"ROOMS", "ACCOUNTS"} {
			if n := len(server.Stored(stream, "")); n != 0 {
				t.Errorf("%s has %d messages", stream, n)
			}
		}
	})
}

// eventAsync publishes without waiting, and waits.
func eventAsync(p *publish.Publisher, raw string) error {
	stored := make(chan error, 1)
	p.EventAsync([]byte(raw), func(err error) { stored <- err })
	return <-stored
}

func TestPublisherStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		p := publish.NewPublisher(server.Connect(natstest.Topology()))
		ctx := t.Context()
		event := func(id string) string { return strings.Replace(eventstest.GoodEvent, "$e", id, 1) }
		for what, err := range map[string]error{
			"event":        p.Event(ctx, []byte(event("$1"))),
			"same again":   p.Event(ctx, []byte(event("$1"))),
			"asynchronous": eventAsync(p, event("$2")),
			"receipt":      p.Receipt(ctx, []byte(`{"type":"m.receipt","room_id":"!r","content":{"$1":{"m.read":{"@a:x":{"ts":1}}}}}`)),
			"logout":       p.Logout(ctx, "@a:x", "DEVICE"),
			"deactivated":  p.Deactivated(ctx, "@a:x"),
			"push rules":   p.PushRules(ctx, "@a:x", json.RawMessage(`{"global":{}}`)),
		} {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		rooms := map[string]int{}
		for _, msg := range server.Stored("ROOMS", "") {
			rooms[msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]]++
		}
		if rooms["_"] != 2 || rooms["receipt"] != 1 || len(rooms) != 2 {
			t.Errorf("ROOMS has %v, want two events and a receipt", rooms)
		}
		accounts := map[string]string{}
		for _, msg := range server.Stored("ACCOUNTS", "") {
			accounts[msg.Subject] = string(msg.Data)
		}
		token := events.Token("@a:x")
		want := map[string]string{
			"account." + token + ".logout":      `{"device_id":"DEVICE","user_id":"@a:x"}`,
			"account." + token + ".deactivated": `{"user_id":"@a:x"}`,
			"account." + token + ".push_rules":  `{"content":{"global":{}},"user_id":"@a:x"}`,
		}
		if fmt.Sprint(accounts) != fmt.Sprint(want) {
			t.Errorf("ACCOUNTS has %v, want %v", accounts, want)
		}
	})
}
