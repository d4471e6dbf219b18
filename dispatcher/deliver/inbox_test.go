package deliver

import (
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
