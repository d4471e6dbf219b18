package deliver

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"poked/events"
	"poked/events/natstest"
	"poked/events/stream"
)

// TestChoiceOfWhatALaggingPusherReceives lets a pusher catch up from several positions: what
// is chosen depends on what the user has not read alone. Of a room with notifications for
// other devices the newest that the pusher wants counts.
func TestChoiceOfWhatALaggingPusherReceives(t *testing.T) {
	natstest.BubbleOf(t, 1, func(t *testing.T, _ *natstest.Server, conn *stream.Conn) {
		o := startOwner(t, conn, "one", "@bob:x")
		defer o.halt()
		d := o.Deliverer
		for i, room := range []events.RoomID{"!a", "!b", "!a", "!b", "!a", "!b", "!c", "!c", "!c"} {
			natstest.Notify(t, conn, "@bob:x", room, notificationOf(uint64(i)+1, i > 6))
		}
		<-time.After(time.Second)
		d.CatchUpLimit = 4
		for _, try := range []struct {
			after, target, thinTo uint64
			want                  []uint64
			passedOver            int
			all                   bool // the lane has not failed
		}{
			{9, 9, 0, nil, 0, false},
			{5, 9, 0, []uint64{6, 7, 8, 9}, 0, false},
			{4, 9, 0, []uint64{5, 6, 7}, 2, false}, // five are more than the limit
			{4, 8, 0, []uint64{5, 6, 7, 8}, 0, false},
			{0, 9, 0, []uint64{5, 6, 7}, 6, false},
			{0, 5, 0, []uint64{5}, 4, false}, // of !b a newer one arrives live
			{2, 9, 4, nil, 0, false},
			{0, 9, 0, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9}, 0, true},
		} {
			c := newCatchUpReader(d, d.CatchUpLimit)
			choice, err := c.choose(t.Context(), &ask{
				user: "@bob:x", pusher: d.Directory.Pushers("@bob:x")[0], after: try.after, target: try.target, thinTo: try.thinTo, passesOver: !try.all,
			})
			var seqs []uint64
			for _, p := range choice.places {
				seqs = append(seqs, p.seq)
			}
			if err != nil || !slices.Equal(seqs, try.want) || choice.passedOver != try.passedOver {
				t.Errorf("%+v: %v, %d passed over, %v", try, seqs, choice.passedOver, err)
			}
			read, err := d.fetch(t.Context(), choice.places)
			for _, p := range choice.places {
				if n := read.of("@bob:x", p); err != nil || n == nil || n.RoomSeq != p.seq {
					t.Errorf("%d is %+v, %v", p.seq, n, err)
				}
				p.roomSeq++
				if n := read.of("@bob:x", p); n != nil {
					t.Errorf("%d is taken for that of another event: %+v", p.seq, n)
				}
			}
		}
	})
}

// notificationOf returns the notification of an event, perhaps for another device alone.
func notificationOf(roomSeq uint64, elsewhere bool) events.Notification {
	n := events.Notification{
		About:  events.About{EventID: events.EventID(fmt.Sprintf("$%d", roomSeq)), RoomSeq: roomSeq, At: time.Now()},
		Tweaks: []byte("{}"), Body: []byte(`{"prio":"low"}`),
	}
	if elsewhere {
		n.Silent = true
		n.Devices = map[string]events.DeviceOutcome{"elsewhere": {Notify: true, Tweaks: []byte("{}"), Prio: "low"}}
	}
	return n
}
