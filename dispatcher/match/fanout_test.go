package match

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/partition"
	"poked/events/stream"
)

// writeAll writes records of 400 bytes for 20 users while at most two of them may be
// unstored. It calls first just before.
func writeAll(t *testing.T, conn *stream.Conn, first func(*Matcher)) (*Matcher, *eventstest.LogBuffer, error) {
	t.Helper()
	log := new(eventstest.LogBuffer)
	f, err := partition.NewGroup(conn).Follow(t.Context(), partition.StageMatch, 0, "test")
	if err != nil {
		t.Fatal(err)
	}
	m := &Matcher{follower: f, cfg: Config{
		Conn: conn, Log: slog.New(slog.NewTextHandler(log, nil)), Counts: &Counters{}, Unstored: semaphore.NewWeighted(2000),
	}}
	first(m)
	out := m.newFanout(partition.Message{Seq: 1})
	out.total = 20
	for i := 0; i < 20 && err == nil; i++ {
		err = out.add(t.Context(), 0, make([]byte, 400))
	}
	out.end(err)
	return m, log, err
}

// More than may be unstored at a time is written piece by piece.
func TestFanoutIsWrittenPieceByPiece(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
		m, _, err := writeAll(t, conn, func(*Matcher) {})
		if err != nil {
			t.Fatal(err)
		}
		eventstest.WaitFor(t, "the last answer", func() bool { return m.cfg.Counts.Notifications.Load() == 20 })
		if n := len(server.Stored("NOTIFICATIONS", "log.")); n != 20 {
			t.Errorf("%d stored", n)
		}
		if !m.cfg.Unstored.TryAcquire(2000) {
			t.Error("not all reserved bytes were released")
		}
	})
}

// While nothing can be stored, the writing is given up and the event is matched again.
func TestFanoutEndsWhileNothingIsStored(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
		var began time.Time
		m, log, _ := writeAll(t, conn, func(*Matcher) { server.Stop(); began = time.Now() })
		if waited := time.Since(began); waited > matchGrace {
			t.Errorf("waited for %v", waited)
		}
		eventstest.WaitFor(t, "the end", func() bool { return strings.Contains(log.String(), "matching again") })
		<-time.After(time.Second)
		if m.cfg.Counts.Notifications.Load() != 0 || strings.Count(log.String(), "matching again") != 1 {
			t.Errorf("counted as stored, or not matched again exactly once: %s", log.String())
		}
		if !m.cfg.Unstored.TryAcquire(2000) {
			t.Error("not all reserved bytes were released")
		}
		server.Start()
	})
}

// An event that arrived while the partition was ours is not written once the partition may
// be another worker's, which may have written it already: it is matched again, if at all.
func TestFanoutEndsWithTheLease(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
		m, log, err := writeAll(t, conn, func(m *Matcher) { m.cfg.Lease = new(partition.Lease) }) // one that has run out
		if !errors.Is(err, errNotHeld) {
			t.Errorf("error %v", err)
		}
		if n := len(server.Stored("NOTIFICATIONS", "log.")); n != 0 || m.cfg.Counts.Notifications.Load() != 0 {
			t.Errorf("%d stored", n)
		}
		if n := strings.Count(log.String(), "matching again"); n != 1 {
			t.Errorf("matched again %d times: %s", n, log.String())
		}
		if !m.cfg.Unstored.TryAcquire(2000) {
			t.Error("not all reserved bytes were released")
		}
	})
}
