package stream_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/stream"
)

// passed returns the sequences that a pass over the notifications yields.
func passed(t *testing.T, conn *stream.Conn, filter string, from uint64) (seqs []uint64) {
	t.Helper()
	for msg, err := range conn.Pass(t.Context(), stream.Notifications, filter, from) {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, msg.Seq)
	}
	return seqs
}

func sequences(from, to uint64) (seqs []uint64) {
	for seq := from; seq <= to; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}

// TestPass reads from a sequence to the end, whatever was removed meanwhile, and nothing
// that is stored later.
func TestPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		if got := passed(t, conn, ">", 0); len(got) > 0 {
			t.Errorf("an empty stream has %v", got)
		}
		for seq := range uint64(1200) {
			notify(t, conn, "@a:x", "!r", seq+1)
		}
		if got := passed(t, conn, ">", 3); !slices.Equal(got, sequences(3, 1200)) {
			t.Errorf("got %d messages", len(got))
		}
		if got := passed(t, conn, ">", 1201); len(got) > 0 {
			t.Errorf("beyond the end are %v", got)
		}
		first := true
		var got []uint64
		for msg, err := range conn.Pass(t.Context(), stream.Notifications, ">", 1190) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, msg.Seq); first {
				first = false
				server.DeleteMessage(stream.Notifications, 1200)
				notify(t, conn, "@a:x", "!r", 1201)
			}
		}
		if !slices.Equal(got, sequences(1190, 1199)) && !slices.Equal(got, sequences(1190, 1200)) {
			t.Errorf("got %v", got)
		}
	})
}

// TestPassEndsWhereTheEndWasRemoved ends although the last message of the stream was removed
// after the pass asked for it.
func TestPassEndsWhereTheEndWasRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		for seq := range uint64(600) { // more than one request
			notify(t, conn, "@a:x", "!r", seq+1)
		}
		last := uint64(0)
		for msg, err := range conn.Pass(t.Context(), stream.Notifications, ">", 1) {
			if err != nil {
				t.Fatal(err)
			}
			if last = msg.Seq; last == 1 {
				for seq := uint64(598); seq <= 600; seq++ {
					server.DeleteMessage(stream.Notifications, seq)
				}
			}
		}
		if last != 597 && last != 600 {
			t.Errorf("it ended with %d", last)
		}
	})
}

// TestPassEndsWhereTheRestWasRemoved ends soon although everything was removed that the
// consumer had counted and not sent yet.
func TestPassEndsWhereTheRestWasRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		for seq := range uint64(1200) { // more than one request
			notify(t, conn, "@a:x", "!r", seq+1)
		}
		began := time.Now()
		for msg, err := range conn.Pass(t.Context(), stream.Notifications, ">", 1) {
			if err != nil {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
			if msg.Seq == 1 {
				<-time.After(time.Second) // until the first request is answered
				server.Purge(stream.Notifications)
				began = time.Now()
			}
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it ended after %v", took)
		}
	})
}

// TestPassFaultTable breaks each hand-off of a pass in each way: it yields everything once,
// or an error.
func TestPassFaultTable(t *testing.T) {
	eventstest.Long(t)
	for _, subject := range []string{
		"$JS.API.STREAM.MSG.GET.NOTIFICATIONS", "$JS.API.CONSUMER.CREATE.NOTIFICATIONS", "$JS.API.CONSUMER.MSG.NEXT.NOTIFICATIONS",
	} {
		for name, fault := range natstest.Faults() {
			if fault == natstest.Kill {
				continue
			}
			t.Run(subject+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { passWithFault(t, subject, fault) })
			})
		}
	}
}

func passWithFault(t *testing.T, subject string, fault natstest.Fault) {
	t.Helper()
	link := natstest.StartServer(t).Link()
	conn := link.Connect(t, natstest.Topology())
	for seq := range uint64(1000) {
		notify(t, conn, "@a:x", "!r", seq+1)
	}
	met := link.Break(subject, fault)
	for range 10 {
		var got []uint64
		var failed error
		for msg, err := range conn.Pass(t.Context(), stream.Notifications, ">", 1) {
			if failed = err; err == nil {
				got = append(got, msg.Seq)
			}
		}
		if want := sequences(1, 1000); !slices.Equal(got, want[:min(len(got), len(want))]) {
			t.Fatalf("messages are missing or out of order: %v", got)
		}
		if failed == nil && len(got) == 1000 {
			if !met() {
				t.Error("the fault was never met")
			}
			return
		}
		if failed == nil {
			t.Fatalf("the pass ended with %d messages and no error", len(got))
		}
		<-time.After(time.Second)
	}
	t.Error("no pass succeeds")
}
