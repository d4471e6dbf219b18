package operator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/natstest"
	"poked/events/operator"
	"poked/events/stream"
)

// bury stores a dead letter.
func bury(t *testing.T, conn *stream.Conn, letter events.DeadLetter) {
	t.Helper()
	stored := make(chan error, 1)
	conn.PublishDead(letter, func(err error) { stored <- err })
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
}

// dead runs a test with a connection that has joined the topology, and a client over it.
func dead(t *testing.T, test func(t *testing.T, server *natstest.Server, conn *stream.Conn, client *operator.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		server := natstest.StartServer(t)
		server.Connect(natstest.Topology())
		conn := server.Dial()
		if err := conn.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, server, conn, operator.NewClient(conn))
	})
}

func seqs(t *testing.T, client *operator.Client, filter operator.DeadFilter) []uint64 {
	t.Helper()
	found := []uint64{}
	for letter, err := range client.DeadLetters(t.Context(), filter) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, letter.Seq)
	}
	return found
}

func TestDeadLettersByFilter(t *testing.T) {
	dead(t, func(t *testing.T, server *natstest.Server, conn *stream.Conn, client *operator.Client) {
		if got := seqs(t, client, operator.DeadFilter{}); len(got) != 0 {
			t.Errorf("an empty stream has %v", got)
		}
		began := time.Now()
		for i := range 100 { // more than a page; one every two minutes
			bury(t, conn, events.DeadLetter{
				Reason: []events.DeadReason{"expired", "bad_event"}[i%2], At: time.Now(), AppID: fmt.Sprintf("app%d", i%3),
				UserID: events.UserID(fmt.Sprintf("@u%d:x", i%5)), RoomID: events.RoomID(fmt.Sprintf("!r%d", i%7)),
			})
			<-time.After(2 * time.Minute)
		}
		server.Publish("dead.0._", "no letter")
		every := func(n, of int) (want []uint64) {
			for i := n; i < 100; i += of {
				want = append(want, uint64(i)+1)
			}
			return want
		}
		letter := func(n int) time.Time { return began.Add(time.Duration(n) * 2 * time.Minute) }
		for name, tt := range map[string]struct {
			filter operator.DeadFilter
			want   []uint64
		}{
			"all":        {operator.DeadFilter{}, append(every(0, 1), 101)},
			"user":       {operator.DeadFilter{User: "@u2:x"}, every(2, 5)},
			"nobody":     {operator.DeadFilter{User: "@nobody:x"}, []uint64{}},
			"room":       {operator.DeadFilter{Room: "!r3"}, every(3, 7)},
			"reason":     {operator.DeadFilter{Reason: "bad_event"}, every(1, 2)},
			"app":        {operator.DeadFilter{AppID: "app1"}, every(1, 3)},
			"two":        {operator.DeadFilter{AppID: "app1", Reason: "expired"}, every(4, 6)}, // 4, 10, 16 …
			"since":      {operator.DeadFilter{Since: letter(97)}, []uint64{98, 99, 100, 101}},
			"too late":   {operator.DeadFilter{Since: letter(200)}, []uint64{}},
			"until":      {operator.DeadFilter{Until: letter(1)}, []uint64{1, 2}},
			"between":    {operator.DeadFilter{Since: letter(50), Until: letter(51).Add(time.Minute)}, []uint64{51, 52}},
			"unreadable": {operator.DeadFilter{Reason: "unreadable"}, []uint64{101}},
			"numbers":    {operator.DeadFilter{Seqs: []uint64{7, 3, 7, 1000}}, []uint64{3, 7}},
			"number of":  {operator.DeadFilter{Seqs: []uint64{1, 2, 3}, User: "@u1:x"}, []uint64{2}},
		} {
			if got := seqs(t, client, tt.filter); !slices.Equal(got, tt.want) {
				t.Errorf("%s: %v, want %v", name, got, tt.want)
			}
			if got := tt.filter.Narrows(); got != (name != "all") {
				t.Errorf("%s narrows: %t", name, got)
			}
		}
	})
}

// A letter that is stored again while the letters are read is not read again; otherwise
// a retry of all letters would never end.
func TestDeadLettersEndWhereTheyEndedAtTheBeginning(t *testing.T) {
	dead(t, func(t *testing.T, _ *natstest.Server, conn *stream.Conn, client *operator.Client) {
		for range 40 {
			bury(t, conn, events.DeadLetter{Reason: "expired", At: time.Now()})
		}
		n := 0
		for _, err := range client.DeadLetters(t.Context(), operator.DeadFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > 40 {
				t.Fatal("the list does not end")
			}
			bury(t, conn, events.DeadLetter{Reason: "expired", At: time.Now()})
		}
	})
}

// A message that cannot be parsed is found by the user and the room in its subject.
func TestUnreadableMessageIsFoundByUser(t *testing.T) {
	dead(t, func(t *testing.T, _ *natstest.Server, conn *stream.Conn, client *operator.Client) {
		user, room := events.Token("@a:x"), events.Token("!r")
		bury(t, conn, events.DeadLetter{Reason: "bad_message", At: time.Now(), Subject: "rejected." + user})
		bury(t, conn, events.DeadLetter{Reason: "bad_message", At: time.Now(), Subject: "account." + user + ".logout"})
		bury(t, conn, events.DeadLetter{Reason: "bad_event", At: time.Now(), Subject: "rooms.0." + room + ".event"})
		if got := seqs(t, client, operator.DeadFilter{User: "@a:x"}); !slices.Equal(got, []uint64{1, 2}) {
			t.Errorf("by user: %v", got)
		}
		if got := seqs(t, client, operator.DeadFilter{Room: "!r"}); !slices.Equal(got, []uint64{3}) {
			t.Errorf("by room: %v", got)
		}
	})
}

func TestDropDead(t *testing.T) {
	dead(t, func(t *testing.T, _ *natstest.Server, conn *stream.Conn, client *operator.Client) {
		for range 3 {
			bury(t, conn, events.DeadLetter{Reason: "expired", At: time.Now()})
		}
		if err := client.DropDead(t.Context(), 2); err != nil {
			t.Error(err)
		}
		if got := seqs(t, client, operator.DeadFilter{}); !slices.Equal(got, []uint64{1, 3}) {
			t.Errorf("%v are left", got)
		}
		for what, do := range map[string]func(context.Context, uint64) error{"drop": client.DropDead, "retry": client.RetryDead} {
			for _, seq := range []uint64{2, 99} {
				if err := do(t.Context(), seq); !errors.Is(err, operator.ErrNoDeadLetter) {
					t.Errorf("%s %d: %v", what, seq, err)
				}
			}
		}
	})
}
