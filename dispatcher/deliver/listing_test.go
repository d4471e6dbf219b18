package deliver

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/natstest"
	"poked/events/stream"
)

// A list yields all users of a partition in pieces, in order and each once.
func TestListInPieces(t *testing.T) {
	for _, n := range []int{0, 1, listPiece, listPiece + 1, 2 * listPiece, 5*listPiece + 7} {
		d := New(Config{Counts: &Counters{}})
		for i := range n {
			user := events.UserID(fmt.Sprintf("@u%06d:x", (i*7919)%max(n, 1)))
			of := func(id events.PusherID) *lane { return &lane{d: d, pusher: &directory.Pusher{ID: id, User: user}} }
			d.people[user] = &recipient{lanes: []*lane{of("b"), of("a")}}
		}
		var seen []string
		for piece := range d.pieces(events.PusherFilter{}, events.PusherCursor{}) {
			if len(piece) > 2*listPiece {
				t.Errorf("a piece of %d", len(piece))
			}
			for i := range piece {
				seen = append(seen, string(piece[i].UserID)+string(piece[i].Pusher))
			}
		}
		if len(seen) != 2*len(d.people) || !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
			t.Errorf("%d users: listed %d pushers, sorted %t", n, len(seen), slices.IsSorted(seen))
		}
		for _, from := range []int{0, len(seen) / 2, len(seen) - 1} {
			if from < 0 || len(seen) == 0 {
				continue
			}
			id := seen[from]
			after := events.PusherCursor{UserID: events.UserID(id[:len(id)-1]), Pusher: events.PusherID(id[len(id)-1:])}
			rest := 0
			for piece := range d.pieces(events.PusherFilter{}, after) {
				rest += len(piece)
			}
			if rest != len(seen)-from-1 {
				t.Errorf("%d users: %d pushers after number %d", n, rest, from)
			}
		}
	}
}

// For lanes that do not know how much waits, the inboxes of some users are loaded, and the
// others have an upper bound.
func TestWaitingIsCountedOrBounded(t *testing.T) {
	natstest.BubbleOf(t, 1, func(t *testing.T, _ *natstest.Server, conn *stream.Conn) {
		o := startOwner(t, conn, "one")
		defer o.halt()
		<-time.After(time.Second)
		d := o.Deliverer
		defer clear(d.people)
		for i := range countPiece + 3 {
			user := events.UserID(fmt.Sprintf("@u%06d:x", i))
			d.people[user] = &recipient{lanes: []*lane{{d: d, pusher: &directory.Pusher{ID: "a", User: user}, lag: &lag{position: 3, target: 10, waiting: notCounted}}}}
		}
		for piece := range d.pieces(events.PusherFilter{}, events.PusherCursor{}) {
			d.countWaiting(context.Background(), piece)
			estimated := 0
			for i := range piece {
				if piece[i].Estimated {
					estimated++
				}
				if want := map[bool]uint64{true: 7, false: 0}[piece[i].Estimated]; piece[i].Waiting != want {
					t.Errorf("%d wait, want %d", piece[i].Waiting, want)
				}
			}
			if estimated != 3 {
				t.Errorf("%d are estimated, want 3", estimated)
			}
		}
	})
}

// Each class reports whether what is sent to a pusher fails, or only waits.
func TestWhatCountsAsFailing(t *testing.T) {
	waits := []poke.Class{poke.ClassOK, poke.ClassActive, poke.ClassBehind, poke.ClassStopped, poke.ClassMoved, poke.ClassRecord}
	for c := range poke.Classes {
		s := events.PusherState{State: events.PusherLagging, Because: poke.Because(c).String()}
		if s.Failing() == slices.Contains(waits, c) {
			t.Errorf("%s: failing is %v", c, s.Failing())
		}
	}
}
