package deliver

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/partition"
	"poked/events/stream"
)

// TestChoiceOfWhatALaggingPusherReceives lets a pusher catch up from several positions, with
// an inbox of which more or less is known one by one: what is chosen depends on the log
// alone. Of a room with notifications for other devices the newest that the pusher wants
// counts.
func TestChoiceOfWhatALaggingPusherReceives(t *testing.T) {
	for _, known := range []int{0, 1, 3, 6, 9} {
		t.Run(fmt.Sprintf("%d known", known), func(t *testing.T) {
			eventstest.BubbleOf(t, 1, func(t *testing.T, _ *eventstest.Server, conn *stream.Conn) {
				chooseFrom(t, conn, known)
			})
		})
	}
}

// chooseFrom checks the choices from a log of nine notifications, of which the last ones are
// known one by one.
func chooseFrom(t *testing.T, conn *stream.Conn, known int) {
	t.Helper()
	d := New(Config{
		Conn: conn, Directory: directoryOf(t, conn, "@bob:x"), Counts: new(Counters), Badge: BadgeMessages,
		CatchUpLimit: 4, Recent: 1 << 20, Owned: new(atomic.Int64), Log: slog.New(slog.DiscardHandler),
	})
	d.follower = &partition.Follower{}
	bob := d.recipient("@bob:x")
	if err := d.learnUnread(t.Context(), "@bob:x", 1); !errors.Is(err, errLogBehind) { // as a leader that was cut off answers
		t.Errorf("learnt from a server that does not know what is wanted: %v", err)
	}
	for i, room := range []events.RoomID{"!a", "!b", "!a", "!b", "!a", "!b", "!c", "!c", "!c"} {
		if i == 9-known {
			if err := d.learnUnread(t.Context(), "@bob:x", 0); err != nil {
				t.Fatal(err)
			}
		}
		n := notificationOf(uint64(i)+1, i > 6)
		write(t, conn, func(b *stream.Batch) { b.Notify(conn, "@bob:x", room, "", n.AppendJSON(nil)) })
		if i >= 9-known {
			bob.unread.add(threadKey{room, events.NoToken}, placeOf(uint64(i)+1, n))
		}
	}
	if err := d.learnUnread(t.Context(), "@bob:x", 0); err != nil {
		t.Fatal(err)
	}
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
			user: "@bob:x", pusher: bob.lanes[0].pusher, after: try.after, target: try.target, thinTo: try.thinTo, passesOver: !try.all,
		})
		var seqs []uint64
		for _, p := range choice.places {
			seqs = append(seqs, p.seq)
		}
		if err != nil || !slices.Equal(seqs, try.want) || choice.passedOver != try.passedOver {
			t.Errorf("%+v: %v, %d passed over, %v", try, seqs, choice.passedOver, err)
		}
		read, err := c.fetch(t.Context(), seqs)
		for _, seq := range seqs {
			if err != nil || read[seq] == nil || read[seq].RoomSeq != seq {
				t.Errorf("%d is %+v, %v", seq, read[seq], err)
			}
		}
	}
}

// notificationOf returns the notification of an event, perhaps for another device alone.
func notificationOf(roomSeq uint64, elsewhere bool) *events.Notification {
	n := &events.Notification{
		EventID: events.EventID(fmt.Sprintf("$%d", roomSeq)), RoomSeq: roomSeq, At: time.Now(),
		Tweaks: []byte("{}"), Body: []byte(`{"prio":"low"}`),
	}
	if elsewhere {
		n.Silent = true
		n.Devices = map[string]events.DeviceOutcome{"elsewhere": {Notify: true, Tweaks: []byte("{}"), Prio: "low"}}
	}
	return n
}
