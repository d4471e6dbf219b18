package roomstore_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/publish"
	"poked/events/roomstore"
)

func stateEvent(id, kind, key, content string) []byte {
	return fmt.Appendf(nil, `{"event_id":%q,"room_id":"!r","type":%q,"state_key":%q,"sender":"@a:x","content":%s}`, id, kind, key, content)
}

// seededState returns the event id of each kind of state of the room.
func seededState(t *testing.T, store *roomstore.Store) string {
	t.Helper()
	state := map[string]string{}
	for ev, err := range store.State(t.Context(), "!r", 1<<40) {
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := events.ParseRoomEvent(ev.Data)
		if err != nil {
			t.Fatal(err)
		}
		state[parsed.Type+"|"+parsed.StateKey] = string(parsed.EventID)
	}
	return fmt.Sprint(state)
}

// Events that the homeserver publishes between the beginning of a seed and its end are
// newer than the seed, and stay.
func TestSeedKeepsWhatIsNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		store := roomstore.New(conn)
		p, ctx := publish.NewPublisher(conn), t.Context()
		publish := func(raw []byte) {
			t.Helper()
			if err := p.Event(ctx, raw); err != nil {
				t.Fatal(err)
			}
		}
		publish(stateEvent("$topic-old", "m.room.topic", "", `{}`))
		seed, err := store.Seed(ctx, "!r")
		if err != nil {
			t.Fatal(err)
		}
		publish(stateEvent("$left", "m.room.member", "@b:x", `{"membership":"leave"}`))
		for _, raw := range [][]byte{
			stateEvent("$create", "m.room.create", "", `{}`),
			stateEvent("$joined", "m.room.member", "@b:x", `{"membership":"join"}`),
			stateEvent("$name", "m.room.name", "", `{}`),
			stateEvent("$topic-new", "m.room.topic", "", `{}`),
		} {
			if err := seed.Add(ctx, raw); err != nil {
				t.Fatal(err)
			}
		}
		if known, err := store.Knows(ctx, "!r"); known || err != nil {
			t.Errorf("known before it is finished: %v, %v", known, err)
		}
		if n, err := seed.Finish(ctx); n != 4 || err != nil {
			t.Fatalf("finish: %d, %v", n, err)
		}
		want := "map[m.room.create|:$create m.room.member|@b:x:$left m.room.name|:$name m.room.topic|:$topic-new]"
		if got := seededState(t, store); got != want {
			t.Errorf("state is %s, want %s", got, want)
		}
		if known, err := store.Knows(ctx, "!r"); !known || err != nil {
			t.Errorf("not known: %v, %v", known, err)
		}
	})
}

func TestSeedRefusesOtherEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		store := roomstore.New(conn)
		seed, err := store.Seed(t.Context(), "!r")
		if err != nil {
			t.Fatal(err)
		}
		for name, raw := range map[string]string{
			"another room": `{"event_id":"$e","room_id":"!other","type":"t","state_key":"","sender":"@a:x","content":{}}`,
			"no state":     `{"event_id":"$e","room_id":"!r","type":"t","sender":"@a:x","content":{}}`,
			"no event":     `{}`,
		} {
			if err := seed.Add(t.Context(), []byte(raw)); !errors.Is(err, events.ErrBadEvent) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := seed.Finish(t.Context()); !errors.Is(err, events.ErrBadEvent) {
			t.Errorf("finished without m.room.create: %v", err)
		}
	})
}

// While NATS is away no event of a seed counts as stored.
func TestSeedFailsWithNATS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		store := roomstore.New(conn)
		seed, err := store.Seed(t.Context(), "!r")
		if err != nil {
			t.Fatal(err)
		}
		server.Stop()
		err = seed.Add(t.Context(), stateEvent("$create", "m.room.create", "", `{}`))
		if _, finished := seed.Finish(t.Context()); err == nil && finished == nil {
			t.Error("finished without NATS")
		}
		server.Start()
		eventstest.WaitFor(t, "NATS to be back", conn.Connected)
		if known, err := store.Knows(t.Context(), "!r"); known || err != nil {
			t.Errorf("known %v, %v", known, err)
		}
	})
}

func TestNewestLike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		store := roomstore.New(conn)
		p := publish.NewPublisher(conn)
		message := func(id string) []byte { return []byte(strings.Replace(eventstest.GoodEvent, "$e", id, 1)) }
		ask := func(raw []byte) events.EventID {
			t.Helper()
			ev, err := events.ParseRoomEvent(raw)
			if err != nil {
				t.Fatal(err)
			}
			id, err := store.NewestLike(t.Context(), &ev)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		if id := ask(message("$1")); id != "" {
			t.Errorf("newest of nothing is %s", id)
		}
		for _, raw := range [][]byte{message("$1"), message("$2")} {
			if err := p.Event(t.Context(), raw); err != nil {
				t.Fatal(err)
			}
		}
		if id := ask(message("$1")); id != "$2" {
			t.Errorf("newest is %s, want $2", id)
		}
	})
}

func TestSentAt(t *testing.T) {
	for ts, want := range map[string]int64{"1795370079981": 1795370079981, `"soon"`: 0} {
		ev, err := events.ParseRoomEvent([]byte(`{"event_id":"$1","room_id":"!r","type":"m.room.message","sender":"@a:x","origin_server_ts":` + ts + `,"content":{}}`))
		if err != nil {
			t.Fatal(err)
		}
		if at := ev.SentAt(); at.IsZero() != (want == 0) || want != 0 && at.UnixMilli() != want {
			t.Errorf("%s: sent at %v", ts, at)
		}
	}
}
