package stream_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/stream"
)

func registerFaults() map[string]natstest.Fault {
	faults := natstest.Faults()
	delete(faults, "killed right after")
	faults["none"] = 0
	faults["happened and nobody answers"] = natstest.LoseSilently
	return faults
}

// registerCase is one case of the table: a write that meets faults, and another writer
// that may write before it, or before it is repeated.
type registerCase struct {
	server  *natstest.Server
	key     string
	r       *stream.Register
	waits   bool // for the answer, instead of using a callback
	deletes bool
	other   string // when another writer writes: "nobody", "before" or "between"
	wrote   bool   // the other writer has written
	tries   int
}

func (s *registerCase) subject() string { return "$KV.BACKLOG." + s.key }

// write repeats the write until its outcome is known.
func (s *registerCase) write(t *testing.T) error {
	t.Helper()
	for try := range 20 {
		if s.other == "before" && try == 0 || s.other == "between" && try == 1 {
			s.server.Publish(s.subject(), "theirs")
			s.wrote = true
		}
		s.tries++
		err := s.once(t)
		if conflict := new(stream.ConflictError); err == nil || errors.As(err, &conflict) {
			return err
		}
		<-time.After(time.Second)
	}
	t.Fatal("the outcome stays unknown")
	return nil
}

func (s *registerCase) once(t *testing.T) error {
	t.Helper()
	answer := make(chan error, 1)
	done := func(err error) { answer <- err }
	switch {
	case s.waits && s.deletes:
		return s.r.Clear(t.Context())
	case s.waits:
		return s.r.Set(t.Context(), []byte("ours"))
	case s.deletes:
		s.r.Delete(done)
	default:
		s.r.Put([]byte("ours"), done)
	}
	return <-answer
}

// check compares the value in the bucket with what the writer believes. before is the
// last sequence of the bucket at the beginning.
func (s *registerCase) check(t *testing.T, err error, before uint64) {
	t.Helper()
	value, there := "", false
	stored := s.server.Stored("KV_BACKLOG", "$KV.")
	for _, msg := range stored {
		if msg.Subject == s.subject() {
			value, there = string(msg.Data), len(msg.Data) > 0
		}
	}
	switch writes := stored[len(stored)-1].Seq - before; {
	case s.wrote:
		if conflict := new(stream.ConflictError); !errors.As(err, &conflict) || value != "theirs" {
			t.Errorf("%s: another writer has written, the value is %q: %v", s.key, value, err)
		}
	case err != nil || there == s.deletes || there && value != "ours":
		t.Errorf("%s: the value is %q: %v", s.key, value, err)
	case writes < 1 || writes > uint64(s.tries):
		t.Errorf("%s: %d messages were stored in %d tries", s.key, writes, s.tries)
	case s.r.Exists() == s.deletes:
		t.Errorf("%s: the register does not know the value", s.key)
	}
}

// TestG1RegisterFaultTable breaks each hand-off of a conditional write in each way,
// while no other writer writes, or one does before it or after its first try. In the
// end the value is stored exactly once, or the other writer's value is, and the
// register knows which.
func TestG1RegisterFaultTable(t *testing.T) {
	eventstest.Long(t)
	for _, kind := range []string{"first", "next", "same value", "delete"} {
		for _, other := range []string{"nobody", "before", "between"} {
			for _, waits := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/waits %v", kind, other, waits), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { registerCases(t, kind, other, waits) })
				})
			}
		}
	}
}

func registerCases(t *testing.T, kind, other string, waits bool) {
	t.Helper()
	server := natstest.StartServer(t)
	link := server.Link()
	conn := link.Connect(t, natstest.Topology())
	faults, stored := registerFaults(), uint64(0)
	for _, atWrite := range slices.Sorted(maps.Keys(faults)) {
		for _, atRead := range slices.Sorted(maps.Keys(faults)) {
			key := strings.ReplaceAll("0."+atWrite+"-"+atRead, " ", "_")
			s := &registerCase{
				server: server, key: key, r: conn.Register("BACKLOG", key, "us", 0),
				waits: waits, deletes: kind == "delete", other: other,
			}
			if kind != "first" {
				before := "before"
				if kind == "same value" {
					before = "ours"
				}
				if err := s.r.Set(t.Context(), []byte(before)); err != nil {
					t.Fatal(err)
				}
				stored++
			}
			breakAt(link, s.subject(), faults[atWrite])
			breakAt(link, "$JS.API.STREAM.MSG.GET.KV_BACKLOG", faults[atRead])
			err := s.write(t)
			link.Spare()
			<-time.After(5 * time.Second) // delayed messages arrive, and the connection is back
			s.check(t, err, stored)
			all := server.Stored("KV_BACKLOG", "$KV.")
			stored = all[len(all)-1].Seq
		}
	}
}

func breakAt(link *natstest.Link, subject string, fault natstest.Fault) {
	if fault != 0 {
		link.Break(subject, fault)
	}
}
