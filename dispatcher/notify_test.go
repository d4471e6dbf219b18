package dispatcher

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"poked/events"
	"poked/events/eventstest"
)

// writeAll writes records of 400 bytes for 20 users while two of them at most may
// be unstored; first happens just before.
func writeAll(t *testing.T, h *house, first func(*matcher)) (*matcher, error) {
	t.Helper()
	f, err := h.conn.Follow(t.Context(), events.StageMatch, 0, "test")
	if err != nil {
		t.Fatal(err)
	}
	m := &matcher{follower: f, matchConfig: matchConfig{
		conn: h.conn, log: slog.New(slog.NewTextHandler(&h.log, nil)), counts: &matchCounters{}, unstored: semaphore.NewWeighted(2000),
	}}
	first(m)
	out := m.newFanout(events.Message{Seq: 1})
	out.total = 20
	for i := 0; i < 20 && err == nil; i++ {
		err = out.add(t.Context(), events.UserID(fmt.Sprint("@", i)), "!r", "", make([]byte, 400))
	}
	out.end(err)
	return m, err
}

// More than may be unstored at a time is written as what came before is stored.
func TestFanoutIsWrittenPieceByPiece(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		m, err := writeAll(t, h, func(*matcher) {})
		if err != nil {
			t.Fatal(err)
		}
		eventstest.WaitFor(t, "the last answer", func() bool { return m.counts.notifications.Load() == 20 })
		if n := len(h.server.Stored("NOTIFICATIONS", "notify.")); n != 20 {
			t.Errorf("%d stored", n)
		}
		if !m.unstored.TryAcquire(2000) {
			t.Error("not all that was taken to write was given back")
		}
	})
}

// While nothing can be stored the writing has an end, and the event is matched
// again.
func TestFanoutEndsWhileNothingIsStored(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		var began time.Time
		m, _ := writeAll(t, h, func(*matcher) { h.server.Stop(); began = time.Now() })
		if waited := time.Since(began); waited > matchGrace {
			t.Errorf("waited for %v", waited)
		}
		eventstest.WaitFor(t, "the end", func() bool { return strings.Contains(h.log.String(), "matching again") })
		<-time.After(time.Second)
		if m.counts.notifications.Load() != 0 || strings.Count(h.log.String(), "matching again") != 1 {
			t.Errorf("counted as stored, or not to be matched again once: %s", h.log.String())
		}
		if !m.unstored.TryAcquire(2000) {
			t.Error("not all that was taken to write was given back")
		}
		h.server.Start()
	})
}

// An event that was taken while the partition was ours is not written down once
// it may be another's, who may have written it: it is matched again, if ever.
func TestFanoutEndsWithTheLease(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		m, err := writeAll(t, h, func(m *matcher) { m.lease = new(events.Lease) }) // one that has run out
		if !errors.Is(err, errNotHeld) {
			t.Errorf("error %v", err)
		}
		if n := len(h.server.Stored("NOTIFICATIONS", "notify.")); n != 0 || m.counts.notifications.Load() != 0 {
			t.Errorf("%d stored", n)
		}
		if n := strings.Count(h.log.String(), "matching again"); n != 1 {
			t.Errorf("to be matched again %d times: %s", n, h.log.String())
		}
		if !m.unstored.TryAcquire(2000) {
			t.Error("not all that was taken to write was given back")
		}
	})
}

// What cannot be read keeps nobody waiting, though its dead letter cannot be stored.
func TestRoomGoesOnWithoutADeadLetter(t *testing.T) {
	readers(t, func(t *testing.T, h *house) {
		h.link.Refuse("dead.", 100)
		h.server.Publish("room."+events.Token("!r")+".event", "{")
		h.say("!r", "@alice:x", 5, 3)
		<-time.After(time.Second)
		if log := h.logOf("@bob:x"); len(log) != 8 {
			t.Errorf("bob has %v", log)
		}
		<-time.After(time.Minute)
		if dead, skipped := len(h.dead()), h.d.Stats().Skipped; dead != 1 || skipped != 1 {
			t.Errorf("%d dead letters, %d skipped", dead, skipped)
		}
	})
}
