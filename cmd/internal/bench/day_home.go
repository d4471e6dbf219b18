package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/publish"
	"poked/events/wait"
)

// homeserver publishes what happens on a day.
type homeserver struct {
	*dayRun

	random *rand.Rand
	acks   *acks
	said   []saying          // every event so far
	oldest int               // of them, the first that may be redacted
	open   map[reader]bool   // a receipt is due
	due    map[int][]receipt // by the number of events after which they are sent
	credit float64           // receipts that are not due yet

	owed       int // pokes to the sink since its last report
	lagged     int // notifications for pushers of the gateway that is down
	owedLater  int // of these, the ones that were not redacted since
	receipts   int
	redactions int
}

// saying is a published message.
type saying struct {
	room     int // number
	id       events.EventID
	redacted bool
}

// reader is a user in a room.
type reader struct{ room, member int }

// receipt is a receipt that is due.
type receipt struct {
	reader

	upTo events.EventID
}

func newHomeserver(r *dayRun) *homeserver {
	return &homeserver{
		dayRun: r, random: rand.New(rand.NewPCG(1, 2)), acks: newAcks(), //nolint:gosec // the same day each time
		open: map[reader]bool{}, due: map[int][]receipt{},
	}
}

// receiptsAtOnce is how many receipts may wait for their acknowledgement.
const receiptsAtOnce = 32

// live publishes n events with their receipts and redactions, and returns when every poke
// to the sink has arrived and the dispatcher has nothing to do but for the pushers that lag.
func (h *homeserver) live(ctx context.Context, n int) error {
	group, pool := errgroup.WithContext(ctx)
	group.SetLimit(receiptsAtOnce + 1)
	group.Go(func() error { return h.publish(pool, n, group) })
	if err := group.Wait(); err != nil {
		return err
	}
	if err := h.sink.await(ctx, h.owed); err != nil {
		return err
	}
	if err := h.d.untilIdle(ctx, h.progress, true); err != nil {
		return err
	}
	seen, err := h.sink.report(ctx)
	h.report.Lost += h.owed - seen.Received
	h.report.Duplicates += seen.Duplicates
	h.owed = 0
	return err
}

// publish publishes n events. Receipts are sent by the pool.
func (h *homeserver) publish(ctx context.Context, n int, pool *errgroup.Group) error {
	began, told, seen := time.Now(), time.Now(), 0
	for i := range n {
		if err := h.hold(ctx, began, i, &seen); err != nil {
			return err
		}
		if err := h.acks.of(ctx, h.say); err != nil {
			return err
		}
		now := len(h.said)
		for _, r := range h.due[now] {
			delete(h.open, r.reader)
			h.receipts++
			pool.Go(func() error { return h.w.read(ctx, h.user(r.reader), h.w.rooms[r.room], r.upTo, "") })
		}
		delete(h.due, now)
		if h.random.Float64() < h.Redactions {
			if err := h.redact(ctx); err != nil {
				return err
			}
		}
		if time.Since(told) >= time.Second {
			told = time.Now()
			h.progress("%d of %d events", i, n)
		}
	}
	return h.acks.wait(ctx)
}

// hold returns when event i may be published: at its time, and when few enough pokes are
// outstanding. seen is how many the sink had when it was last asked.
func (h *homeserver) hold(ctx context.Context, began time.Time, i int, seen *int) error {
	if h.Rate > 0 {
		at := began.Add(time.Duration(float64(i) / h.Rate * float64(time.Second)))
		if early := time.Until(at); early > 0 {
			if err := wait.For(ctx, early); err != nil {
				return err
			}
		}
	}
	for stuck := time.Now(); h.owed-*seen > h.ReadWithin/25+h.Fanout; {
		before := *seen
		if err := h.sink.get(ctx, "/count", seen); err != nil {
			return err
		}
		if *seen != before {
			stuck = time.Now()
			continue
		}
		if time.Since(stuck) > settlePatience {
			return fmt.Errorf("no poke for %s, %d outstanding", settlePatience, h.owed-*seen)
		}
		if err := wait.For(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// say publishes a message in a random room and decides when its users will read it.
func (h *homeserver) say(done func(error)) {
	room := h.random.IntN(len(h.w.rooms))
	h.w.publishIn(h.w.rooms[room], done)
	h.said = append(h.said, saying{room: room, id: h.w.latest()})
	for m := range h.Fanout {
		who := reader{room, m}
		if h.lags(who) {
			h.lagged++
			h.owedLater++
			h.credit += h.Receipts // somebody else reads more
			continue
		}
		h.owed++
		h.credit += h.Receipts
		if h.credit >= 1 && !h.open[who] {
			h.credit--
			h.open[who] = true
			at := len(h.said) + h.later()
			h.due[at] = append(h.due[at], receipt{who, h.w.latest()})
		}
	}
}

// later returns a random number of events that is large enough for a poke to be delivered
// meanwhile: five times as many as may be outstanding.
func (h *homeserver) later() int {
	notifications := h.ReadWithin/5 + h.random.IntN(h.ReadWithin*4/5)
	return notifications/h.Fanout + 1
}

func (h *homeserver) user(who reader) events.UserID {
	return h.w.member(who.room%h.w.groups, who.member)
}

// lags reports whether the gateway of a user is down.
func (h *homeserver) lags(who reader) bool {
	return h.w.gatewayOf(who.room%h.w.groups, who.member) == h.down.urls[0]
}

// redact publishes the redaction of a message that has been delivered, except to pushers
// that lag: these will not get it any more.
func (h *homeserver) redact(ctx context.Context) error {
	last := len(h.said) - h.ReadWithin/5/h.Fanout - 1
	if last <= h.oldest {
		return nil
	}
	h.redactions++
	what := &h.said[h.oldest+h.random.IntN(last-h.oldest)]
	for m := range h.Fanout {
		if !what.redacted && h.lags(reader{what.room, m}) {
			h.owedLater--
		}
	}
	what.redacted = true
	return h.publishRedaction(ctx, h.w.rooms[what.room], what.id)
}

func (h *homeserver) publishRedaction(ctx context.Context, room events.RoomID, redacts events.EventID) error {
	event := fmt.Appendf(nil, `{"event_id":"$redaction-%d","room_id":%q,"type":"m.room.redaction","sender":"@sender:bench.example","origin_server_ts":%d,"redacts":%q,"content":{"redacts":%q}}`,
		h.redactions, room, time.Now().UnixMilli(), redacts, redacts)
	return h.acks.of(ctx, func(done func(error)) { publish.NewPublisher(h.w.conn).EventAsync(event, done) })
}

// alone publishes n messages with as many receipts and redactions as they would have, in a
// room where nobody has a pusher.
func (h *homeserver) alone(ctx context.Context, n int) error {
	const room events.RoomID = "!nobody:bench.example"
	group, pool := errgroup.WithContext(ctx)
	group.SetLimit(receiptsAtOnce)
	receipts, redactions := 0.0, 0.0
	for range n {
		if err := h.acks.of(ctx, func(done func(error)) { h.w.publishIn(room, done) }); err != nil {
			return err
		}
		latest := h.w.latest()
		for receipts += h.Receipts * float64(h.Fanout); receipts >= 1; receipts-- {
			group.Go(func() error { return h.w.read(pool, "@nobody:bench.example", room, latest, "") })
		}
		for redactions += h.Redactions; redactions >= 1; redactions-- {
			h.redactions++
			if err := h.publishRedaction(ctx, room, latest); err != nil {
				return err
			}
		}
	}
	return errors.Join(group.Wait(), h.acks.wait(ctx))
}
