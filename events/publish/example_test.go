package publish_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"poked/events"
	"poked/events/publish"
	"poked/events/stream"
	"poked/events/wait"
)

// A homeserver publishes the state of a room once, and from then on every event.
func Example() {
	ctx := context.Background()
	natsURL, stop := startPoked() // yours is nats://127.0.0.1:4222, say
	defer stop()

	conn, err := stream.Connect(ctx, stream.Config{URL: natsURL, Name: "my homeserver", Log: slog.Default()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Join(ctx); err != nil { // poked has never run with this NATS
		fmt.Println(err)
		return
	}
	p := publish.NewPublisher(conn)

	// stored retries a publish until NATS has stored the message. Repeating is always
	// safe.
	stored := func(publish func() error) {
		for {
			err := publish()
			if err == nil || errors.Is(err, events.ErrBadEvent) {
				fmt.Println("stored:", err == nil)
				return
			}
			if wait.For(ctx, time.Second) != nil {
				return
			}
		}
	}
	join := []byte(`{"room_id":"!r:example.org","event_id":"$1","sender":"@alice:example.org",` +
		`"type":"m.room.member","state_key":"@alice:example.org","content":{"membership":"join"}}`)
	stored(func() error { return p.Event(ctx, join, publish.Historical()) })

	message := []byte(`{"room_id":"!r:example.org","event_id":"$2","sender":"@bob:example.org",` +
		`"type":"m.room.message","content":{"msgtype":"m.text","body":"hello"}}`)
	stored(func() error { return p.Event(ctx, message) })
	stored(func() error { return p.Logout(ctx, "@alice:example.org", "PHONE") })
	stored(func() error { return p.Event(ctx, []byte(`{"type":"m.room.message"}`)) }) // has no room

	// Output:
	// stored: true
	// stored: true
	// stored: true
	// stored: false
}
