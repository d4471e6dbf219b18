package operator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/operator"
	"poked/events/partition"
	"poked/events/stream"
)

// A retried message is published on its original subject, even if it was published a
// moment ago under the same id.
func TestRetryOfMessages(t *testing.T) {
	dead(t, func(t *testing.T, server *natstest.Server, conn *stream.Conn, client *operator.Client) {
		user, room := events.Token("@a:x"), events.Token("!r")
		server.Publish("room."+room+".event", "first")
		where := server.Stored("ROOMS", "")[0].Subject
		for i, subject := range []string{where, where, "log.1", "account." + user + ".logout", "rejected." + user} {
			bury(t, conn, events.DeadLetter{Reason: "bad_message", At: time.Now(), Subject: subject, Message: fmt.Appendf(nil, "m%d", i)})
		}
		for seq := range uint64(5) {
			if err := client.RetryDead(t.Context(), seq+1); err != nil {
				t.Error(err)
			}
		}
		for stream, want := range map[string][]string{
			"ROOMS": {where + " first", where + " m0", where + " m1"}, "NOTIFICATIONS": {"log.1 m2"},
			"ACCOUNTS": {"account." + user + ".logout m3"}, "REJECTED": {"rejected." + user + " m4"}, "DEAD": nil,
		} {
			var got []string
			for _, msg := range server.Stored(stream, "") {
				got = append(got, msg.Subject+" "+string(msg.Data))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s holds %q, want %q", stream, got, want)
			}
		}
	})
}

// A letter whose deletion failed can be retried again, and its message is not stored a
// second time.
func TestRetryOfALetterThatStayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		link := server.Link()
		conn := link.Connect(t, natstest.Topology())
		client := operator.NewClient(conn)
		bury(t, conn, events.DeadLetter{Reason: "bad_event", At: time.Now(), Subject: "rooms.0." + events.Token("!r") + ".event", Message: []byte("m")})
		link.Break("$JS.API.STREAM.MSG.DELETE.DEAD", natstest.Lose)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := client.RetryDead(ctx, 1); err == nil {
			t.Fatal("the letter is gone although deletions are refused")
		}
		eventstest.WaitFor(t, "the connection", conn.Connected)
		if err := client.RetryDead(t.Context(), 1); err != nil {
			t.Error(err)
		}
		if events, letters := len(server.Stored("ROOMS", "")), len(server.Stored("DEAD", "")); events != 1 || letters != 0 {
			t.Errorf("%d events and %d letters, want 1 and none", events, letters)
		}
	})
}

func TestRetryKeepsHistoricalEventsQuiet(t *testing.T) {
	dead(t, func(t *testing.T, server *natstest.Server, conn *stream.Conn, client *operator.Client) {
		where := fmt.Sprintf("rooms.%d.%s.event", events.PartitionOf(events.Token("!r"), 2), events.Token("!r"))
		bury(t, conn, events.DeadLetter{Reason: "bad_event", At: time.Now(), Subject: where, Historical: true, Message: []byte("m")})
		f, err := partition.NewGroup(server.Connect(natstest.Topology())).Follow(t.Context(), partition.StageMatch, events.PartitionOf(events.Token("!r"), 2), "w")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		taken, ended := make(chan partition.Message, 1), make(chan error, 1)
		go func() {
			ended <- f.Run(ctx, partition.Handler{
				Handle: func(_ context.Context, msg partition.Message) { taken <- msg; f.Done(msg.Seq) },
				Tick:   func(context.Context, time.Time) {},
			}, func() {})
		}()
		if err := client.RetryDead(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if msg := <-taken; !msg.Historical || msg.Subject != where {
			t.Errorf("followed as %+v", msg)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestWhatCannotBeRetriedStays(t *testing.T) {
	dead(t, func(t *testing.T, server *natstest.Server, conn *stream.Conn, client *operator.Client) {
		n := eventstest.Notification()
		poke := events.DeadLetter{
			Reason: "expired", At: time.Now(), UserID: "@a:x", RoomID: "!r", AppID: "app", Pushkey: "SECRET", Message: n.AppendJSON(nil),
		}
		put := func(pushkeys ...string) {
			set := events.UserPushers{UserID: "@a:x", Version: 1}
			for _, key := range pushkeys {
				set.Pushers = append(set.Pushers, events.Pusher{AppID: "app", Pushkey: key})
			}
			if err := conn.PutPushers(t.Context(), set); err != nil {
				t.Fatal(err)
			}
		}
		put("SECRET")
		name := "room." + events.Token("!r") + ".state." + events.Token("m.room.name") + "._"
		server.Publish(name, "old")
		was := server.Stored("ROOMS", "")[0].Subject
		server.Publish(name, "new")
		eventstest.WaitFor(t, "the room's state", func() bool {
			state := server.Stored("ROOM_STATE", "")
			return len(state) == 1 && string(state[0].Data) == "new"
		})
		state := func(content string) events.DeadLetter {
			return events.DeadLetter{Reason: "bad_event", At: time.Now(), Subject: was, Message: []byte(content)}
		}
		with := func(change func(*events.DeadLetter)) events.DeadLetter {
			letter := poke
			change(&letter)
			return letter
		}
		for _, tt := range []struct {
			letter events.DeadLetter
			why    string // "" if it can be retried
		}{
			{poke, ""},
			{with(func(l *events.DeadLetter) { l.Pushkey = "SECRET-other" }), "pusher is gone"},
			{with(func(l *events.DeadLetter) { l.UserID = "@b:x" }), "pusher is gone"},
			{with(func(l *events.DeadLetter) { l.Message = []byte(`{"SECRET":1}`) }), "unreadable"},
			{events.DeadLetter{Reason: "bad_event", At: time.Now(), Subject: was, Message: []byte(strings.Repeat("x", 600<<10))}, "cut"},
			{events.DeadLetter{Reason: "bad_event", At: time.Now()}, "holds no message"},
			{events.DeadLetter{Reason: "bad_event", At: time.Now(), Subject: "$JS.API.STREAM.PURGE.ROOMS"}, "holds no message"},
			{state("old"), "newer state"},
			{state("new"), ""},
		} {
			bury(t, conn, tt.letter)
			letters := server.Stored("DEAD", "")
			letter, err := client.DeadLetter(t.Context(), letters[len(letters)-1].Seq)
			if err != nil {
				t.Fatal(err)
			}
			can, did := client.CanRetryDead(t.Context(), letter), client.RetryDead(t.Context(), letter.Seq)
			if tt.why == "" {
				if can != nil || did != nil {
					t.Errorf("%v, %v", can, did)
				}
				if tt.letter.Reason == "expired" { // so that a dispatcher waits until it knows the pusher
					logged := server.Stored("NOTIFICATIONS", "")
					m, err := events.ParseLog(logged[len(logged)-1].Data)
					if err != nil || m.Notify.Users[0].PushersRevision != 1 || m.Notify.Only != tt.letter.PusherID() {
						t.Errorf("the notification is %s, %v", logged[len(logged)-1].Data, err)
					}
				}
				continue
			}
			for _, err := range []error{can, did} {
				if !errors.Is(err, operator.ErrNotRetriable) || !strings.Contains(err.Error(), tt.why) || strings.Contains(err.Error(), "SECRET") {
					t.Errorf("%v, want %s", err, tt.why)
				}
			}
			if got := seqs(t, client, operator.DeadFilter{Seqs: []uint64{letter.Seq}}); len(got) != 1 {
				t.Errorf("the letter that cannot be retried (%s) is gone", tt.why)
			}
		}
	})
}
