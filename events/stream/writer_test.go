package stream_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"

	"poked/events/natstest"
	"poked/events/stream"
)

// TestG1LateAnswerIsNoOthers answers a write after its time limit, while many others are in
// flight: it must not pass for the answer to one of these. Writes that follow each other share
// few addresses.
func TestG1LateAnswerIsNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		streams, err := nats.Connect("", nats.InProcessServer(server)) // stands for streams whose answers the test gives
		if err != nil {
			t.Fatal(err)
		}
		defer streams.Close()
		asked := make(chan *nats.Msg, 1)
		if _, err := streams.ChanSubscribe("pretended", asked); err != nil {
			t.Fatal(err)
		}
		if err := streams.Flush(); err != nil {
			t.Fatal(err)
		}
		write := func() (question *nats.Msg, stored <-chan error) {
			done := make(chan error, 1)
			batch := conn.NewBatch(func(err error) { done <- err })
			batch.Add("pretended", nil, []byte("x"))
			batch.Send()
			return <-asked, done
		}
		late, stored := write()
		if err := <-stored; !errors.Is(err, stream.ErrUnknownOutcome) {
			t.Fatalf("no answer: %v", err)
		}
		addresses := map[string]bool{}
		for range 2000 {
			question, stored := write()
			addresses[question.Reply] = true
			if question.Reply == late.Reply {
				t.Fatal("a write has the address of one whose answer may still come")
			}
			if err := late.Respond([]byte(`{"stream":"PRETENDED","seq":1}`)); err != nil {
				t.Fatal(err)
			}
			if err := question.Respond([]byte(`{"error":{"description":"full"}}`)); err != nil {
				t.Fatal(err)
			}
			if err := <-stored; err == nil || !strings.Contains(err.Error(), "full") {
				t.Fatalf("the answer was %v", err)
			}
		}
		if len(addresses) > 500 {
			t.Errorf("2000 writes in turn had %d addresses", len(addresses))
		}
	})
}
