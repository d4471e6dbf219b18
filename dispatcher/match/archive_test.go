package match

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"poked/events"
	"poked/events/natstest"
	"poked/events/publish"
	"poked/events/roomstore"
	"poked/events/stream"
)

// A search finds each of a room's events, however old. From then on the archive knows their
// sequences, and which events do not exist.
func TestArchiveFindsEveryEvent(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
		const count = 2*timelineLimit + 7
		room := events.RoomID("!r")
		for i := range count {
			if i == count/2 {
				<-time.After(2 * archiveRecent)
			}
			publishAll(t, conn, fmt.Sprintf(`{"event_id":"$%d","room_id":"!r","type":"m.room.message","sender":"@a:x","content":{}}`, i))
		}
		archive, err := newArchive(roomstore.New(conn))
		if err != nil {
			t.Fatal(err)
		}
		q := newSearches(conn, archive, slog.New(slog.DiscardHandler), nil)
		find := func(id events.EventID, before uint64) (mark, bool) {
			s := &search{room: room, before: before, receipts: []events.Receipt{{User: "@b:x", Event: id}}}
			if err := q.perform(t.Context(), s); err != nil {
				t.Fatalf("search for %s: %v", id, err)
			}
			k, found := s.found[id]
			return k, found
		}
		known := uint64(count - 50)
		for _, i := range []int{count - 100, count / 2, count/2 - 1, 0, 1} {
			if k, found := find(events.EventID(fmt.Sprintf("$%d", i)), known); !found || k.seq != uint64(i)+1 {
				t.Errorf("event %d has sequence %d, %t", i, k.seq, found)
			}
			if i >= count/2 && archive.covers(room, known) {
				t.Errorf("everything was read for event %d", i)
			}
		}
		if _, found := find("$none", known); found || !archive.covers(room, known) {
			t.Errorf("an event that does not exist: %t, everything is known: %t", found, archive.covers(room, known))
		}
		if k, found := find(events.EventID(fmt.Sprintf("$%d", count-1)), count+1); !found || k.seq != count { // the room has grown
			t.Errorf("the newest has sequence %d, %t", k.seq, found)
		}
		server.Stop() // known events need no server
		if _, found := find("$none", count+1); found {
			t.Error("found an event that does not exist")
		}
		server.Start()
	})
}

// The archive keeps no more events than its share, and evicted ones do not count as known.
func TestG7ArchiveIsBounded(t *testing.T) {
	a, err := newArchive(nil)
	if err != nil {
		t.Fatal(err)
	}
	a.divide(archiveLimit / 100) // a hundred events
	for r := range 10 {
		room := events.RoomID(fmt.Sprint("!", r))
		marks := make([]mark, 70)
		for i := range marks {
			marks[i] = mark{id: hashOf(events.EventID(fmt.Sprint("$", i))), seq: uint64(i) + 1}
		}
		p := a.open(room, 1000)
		a.merge(room, p, marks, func() { p.whole = true })
		if a.size > 100 {
			t.Fatalf("%d events are remembered", a.size)
		}
		if _, _, found := a.find(room, "$69"); !found || !a.covers(room, 1000) {
			t.Errorf("room %d is forgotten at once", r)
		}
	}
	if a.covers("!0", 1000) {
		t.Error("a room that was forgotten counts as known")
	}
	a.divide(archiveLimit)
	if a.size > 50 {
		t.Errorf("%d events are remembered by a small share", a.size)
	}
}

func publishAll(t *testing.T, conn *stream.Conn, raw string) {
	t.Helper()
	if err := publish.NewPublisher(conn).Event(t.Context(), []byte(raw)); err != nil {
		t.Fatal(err)
	}
}
