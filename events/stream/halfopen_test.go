package stream_test

import (
	"errors"
	"testing"
	"time"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/stream"
)

// A connection whose peer stops reading is closed after the timeout of writes, and each write
// in between has an outcome.
func TestHalfOpenConnectionIsGivenUp(t *testing.T) {
	eventstest.Long(t) // not in a bubble, see Stall
	t.Parallel()
	link := natstest.StartServer(t).Link()
	conn, err := stream.Connect(t.Context(), stream.Config{InProcess: link, WriteTimeout: time.Second / 2})
	if err == nil {
		err = conn.Setup(t.Context(), natstest.Topology())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	back := make(chan struct{}, 1)
	conn.OnReconnect(func() { back <- struct{}{} })
	resume := link.Stall()
	defer resume()
	answer := make(chan error, 1)
	r := conn.Register("BACKLOG", "0.p", "us", 0)
	r.Put([]byte("ours"), func(err error) { answer <- err })
	select {
	case err := <-answer:
		if !errors.Is(err, stream.ErrUnknownOutcome) {
			t.Errorf("the write that the peer did not read: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the write that the peer did not read has no outcome")
	}
	resume()
	select {
	case <-back:
	case <-time.After(10 * time.Second):
		t.Fatal("the connection is not closed")
	}
	r.Put([]byte("ours"), func(err error) { answer <- err })
	if err := <-answer; err != nil {
		t.Error(err)
	}
}
