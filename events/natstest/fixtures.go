package natstest

import (
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/publish"
	"poked/events/roomstore"
	"poked/events/stream"
)

// Notify stores a notification of a user.
func Notify(t testing.TB, conn *stream.Conn, user events.UserID, room events.RoomID, n events.Notification) {
	t.Helper()
	m := n.Log(user, room)
	Store(t, conn, user, m.AppendJSON(nil))
}

// Store stores a message about a user in NOTIFICATIONS.
func Store(t testing.TB, conn *stream.Conn, user events.UserID, message []byte) {
	t.Helper()
	stored := make(chan error, 1)
	batch := conn.NewBatch(func(err error) { stored <- err })
	batch.Add(events.LogSubject(conn.Topology().PartOf(user)), nil, message)
	batch.Send()
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
}

// PublishAll publishes the messages with the numbers from, …, to-1.
func PublishAll(t testing.TB, conn *stream.Conn, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := publish.NewPublisher(conn).Event(t.Context(), eventstest.Message(n)); err != nil {
			t.Fatalf("publish %d: %v", n, err)
		}
	}
}

// RoomState returns the events of a room's state before a sequence of ROOMS, by their state keys. It
// fails the test if one of them is not from before.
func RoomState(t testing.TB, store *roomstore.Store, room events.RoomID, before uint64) (map[string]string, error) {
	t.Helper()
	state := map[string]string{}
	for ev, err := range store.State(t.Context(), room, before) {
		if err != nil {
			return nil, err
		}
		parsed, err := events.ParseRoomEvent(ev.Data)
		if err != nil {
			return nil, err
		}
		if ev.Seq >= before {
			t.Errorf("state before %d contains event %d", before, ev.Seq)
		}
		state[parsed.StateKey] = string(parsed.EventID)
	}
	return state, nil
}
