package deliver

import (
	"slices"
	"testing"

	"poked/events"
)

// What is known of an event is what the messages about it say that are still in memory.
func TestG2RecentMessagesAboutAnEvent(t *testing.T) {
	var r recent
	event := &events.LogNotification{About: events.About{EventID: "$e", RoomSeq: 7}}
	about := func() (seqs []uint64) {
		for m := range r.about(event) {
			seqs = append(seqs, m.seq)
		}
		slices.Sort(seqs)
		return seqs
	}
	size := newLogged(1, event).bytes
	for seq := range uint64(4) {
		r.add(newLogged(2*seq+1, event), 6*size)
		r.add(newLogged(2*seq+2, &events.LogNotification{About: events.About{EventID: "$lost", RoomSeq: 7}}), 6*size)
	}
	if got := about(); !slices.Equal(got, []uint64{3, 5, 7}) {
		t.Errorf("messages %v, want 3, 5, 7", got)
	}
	for seq := uint64(9); len(r.byEvent) > 1 || len(about()) > 0; seq++ {
		if r.add(newLogged(seq, &events.LogNotification{About: events.About{EventID: "$f", RoomSeq: 8}}), 6*size); seq > 20 {
			t.Fatalf("messages %v, of %d events", about(), len(r.byEvent))
		}
	}
	if r.get(1) != nil || r.get(9) == nil {
		t.Error("not the newest are in memory")
	}
}
