package natstest

import (
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/publish"
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
