package bench

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"poked/events"
	"poked/events/publish"
)

// maxAhead is how many events may be published but not acknowledged.
const maxAhead = 512

// acks are the acknowledgements of what is published. At most maxAhead are outstanding.
type acks struct {
	ahead   *semaphore.Weighted
	failed  atomic.Pointer[error]
	slowest atomic.Int64 // nanoseconds of the slowest one so far
}

func newAcks() *acks { return &acks{ahead: semaphore.NewWeighted(maxAhead)} }

// of calls publish as soon as few enough acknowledgements are outstanding, and counts the
// one that publish passes on.
func (a *acks) of(ctx context.Context, publish func(done func(error))) error {
	if err := a.ahead.Acquire(ctx, 1); err != nil {
		return err
	}
	began := time.Now()
	publish(func(err error) {
		if err != nil {
			a.failed.Store(&err)
		}
		for took, slowest := int64(time.Since(began)), a.slowest.Load(); took > slowest && !a.slowest.CompareAndSwap(slowest, took); slowest = a.slowest.Load() {
		}
		a.ahead.Release(1)
	})
	return nil
}

// wait returns when everything is acknowledged, with an error if something was refused.
func (a *acks) wait(ctx context.Context) error {
	if err := a.ahead.Acquire(ctx, maxAhead); err != nil {
		return err
	}
	a.ahead.Release(maxAhead)
	if err := a.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// publish publishes n messages, spread over the rooms, as fast as NATS stores them. It
// returns when all are stored.
func (w *world) publish(ctx context.Context, n int) error {
	return w.publishAll(ctx, n, w.publishOne)
}

// publishAll calls publish n times, once per message.
func (w *world) publishAll(ctx context.Context, n int, publish func(done func(error))) error {
	acks := newAcks()
	for range n {
		if err := acks.of(ctx, publish); err != nil {
			return err
		}
	}
	return acks.wait(ctx)
}

// offerEvery is how often offer checks what is due.
const offerEvery = 2 * time.Millisecond

// offer publishes messages, spread over the rooms, at a rate per second by the clock: what
// was delayed is made up for, as by people who write whatever the servers do. It calls
// each with the number of messages so far, ends as soon as that returns false, and returns
// when all are stored.
func (w *world) offer(ctx context.Context, rate float64, acks *acks, each func(n int) bool) error {
	tick := time.NewTicker(offerEvery)
	defer tick.Stop()
	began := time.Now()
	for n := 0; ; {
		for due := time.Since(began).Seconds() * rate; float64(n) < due; n++ {
			if !each(n) {
				return acks.wait(ctx)
			}
			if err := acks.of(ctx, w.publishOne); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (w *world) publishOne(done func(error)) {
	w.publishIn(w.rooms[(w.published+1)%len(w.rooms)], done)
}

// publishIn publishes a message in a room.
func (w *world) publishIn(room events.RoomID, done func(error)) {
	w.published++
	publish.NewPublisher(w.conn).EventAsync(fmt.Appendf(nil,
		`{"event_id":"$message-%d","room_id":%q,"type":"m.room.message","sender":"@sender:bench.example","origin_server_ts":%d,"content":%s}`,
		w.published, room, time.Now().UnixMilli(), content()), done)
}

// latest returns the last published message.
func (w *world) latest() events.EventID {
	return events.EventID("$message-" + strconv.Itoa(w.published))
}

// read publishes a receipt of a user for a message, with a thread_id unless thread is
// empty.
func (w *world) read(ctx context.Context, user events.UserID, room events.RoomID, message events.EventID, thread string) error {
	data := `{"ts":1}`
	if thread != "" {
		data = fmt.Sprintf(`{"ts":1,"thread_id":%q}`, thread)
	}
	return publish.NewPublisher(w.conn).Receipt(ctx,
		fmt.Appendf(nil, `{"type":"m.receipt","room_id":%q,"content":{%q:{"m.read":{%q:%s}}}}`, room, message, user, data))
}

// content returns the content of a message, with the time when it was sent. A poke with it
// has about 800 bytes.
func content() []byte {
	return fmt.Appendf(nil, `{"msgtype":"m.text","sent_at":%d,"body":"%0300d"}`, time.Now().UnixNano(), 0)
}
