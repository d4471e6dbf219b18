package deliver

import (
	"fmt"
	"testing"

	"poked/events"
)

// TestNoSnapshotOfARoomMeansRead takes a room of which no snapshot is stored, as of one where a
// user has read everything. A message that the last owner left open, because it waited for a
// pusher, arrives again: the user has read it, and gets no poke. What is newer than the snapshots
// is unread.
func TestNoSnapshotOfARoomMeansRead(t *testing.T) {
	d := &Deliverer{position: events.InboxPosition{Seq: 10}}
	in := &inbox{rooms: map[events.RoomID]*unreadRoom{}}
	for seq, want := range map[uint64]bool{5: false, 10: false, 11: true} {
		r := d.room(in, "!r")
		if unread, added := in.add(r, events.InboxEntry{Seq: seq, RoomSeq: seq}, ""); unread != want || added != want {
			t.Errorf("%d is unread: %t, added: %t", seq, unread, added)
		}
	}
}

// TestSnapshotOfManyThreadsFits stores what a user has not read in a room where somebody begins
// thousands of threads with ids that are as long as they may be: the snapshot is not larger than
// NATS takes, has the newest entries with their threads, and no thread outlives its entries.
func TestSnapshotOfManyThreadsFits(t *testing.T) {
	thread := func(n uint64) events.EventID {
		return events.EventID(fmt.Sprintf("$%0*d", events.MaxIDBytes-1, n))
	}
	in := &inbox{rooms: map[events.RoomID]*unreadRoom{}}
	r := &unreadRoom{id: "!r"}
	const count = 5000
	for seq := uint64(1); seq <= count; seq++ {
		in.add(r, events.InboxEntry{Seq: seq, RoomSeq: seq}, thread(seq))
	}
	check := func(what string, of *unreadRoom, entries int) {
		t.Helper()
		if len(of.Entries) < entries || len(of.Threads) != len(of.Entries) {
			t.Fatalf("%s: %d entries and %d threads", what, len(of.Entries), len(of.Threads))
		}
		for i := range of.Entries {
			if e := &of.Entries[i]; of.threadOf(e) != thread(e.Seq) || e.Seq != count-uint64(len(of.Entries)-1-i) {
				t.Fatalf("%s: %+v is in thread %s", what, e, of.threadOf(e))
			}
		}
	}
	value := r.encode()
	stored, err := events.ParseInboxRoom(value)
	if err != nil || len(value) > valueBytes || stored.Older+uint64(len(stored.Entries)) != count {
		t.Errorf("%d bytes, %d older, %v", len(value), stored.Older, err)
	}
	check("the snapshot", &unreadRoom{InboxRoom: stored}, 2500)
	check("in memory", r, count)
	if !in.trim(r, count) {
		t.Error("nothing was trimmed")
	}
	check("trimmed", r, entriesKept)
	in.read(r, events.Read{UpTo: count - 10, Whole: true}, count+1)
	check("read", r, 10)
	if want := r.size() - roomBytes; in.bytes != want {
		t.Errorf("it takes %d bytes by the account, %d by its entries", in.bytes, want)
	}
	in.read(r, events.Read{UpTo: count, Whole: true}, count+1)
	if in.bytes != 0 || len(r.Threads) > 0 {
		t.Errorf("%d bytes and %d threads are left", in.bytes, len(r.Threads))
	}
}

// TestWhatIsOnlyANumberIsPassedOver lets a lane catch up that is behind because the dispatcher
// was, where the snapshot of a room has only the number of what is older: that counts as passed
// over, once, and the rest is sent.
func TestWhatIsOnlyANumberIsPassedOver(t *testing.T) {
	d := &Deliverer{inboxes: map[events.UserID]*inbox{}}
	r := &unreadRoom{id: "!r", InboxRoom: events.InboxRoom{Older: 500, OlderSeq: 900}}
	in := &inbox{rooms: map[events.RoomID]*unreadRoom{"!r": r}, oldest: 1}
	for seq := uint64(901); seq <= 905; seq++ {
		in.add(r, events.InboxEntry{Seq: seq, RoomSeq: seq}, "")
	}
	d.inboxes["@a:x"] = in
	c := newCatchUpReader(d, 100)
	for _, try := range []struct {
		after, olderTo uint64
		want           int
	}{{10, 0, 500}, {10, 900, 0}, {902, 0, 0}} {
		got, err := c.choose(t.Context(), &ask{user: "@a:x", after: try.after, target: 905, olderTo: try.olderTo})
		if err != nil || got.passedOver != try.want || len(got.places) != int(905-max(try.after, 900)) {
			t.Errorf("after %d: %d passed over, %d places, %v", try.after, got.passedOver, len(got.places), err)
		}
	}
}
