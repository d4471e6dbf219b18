package cli

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"sync"
	"time"

	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"poked/events"
	"poked/events/publish"
	"poked/events/stream"
	"poked/events/wait"
)

// Records are published in lanes:
//
//	          ┌─▶ lane 0 ─▶ publish, wait until stored, next
//	records ──┼─▶ lane 1 ─▶ …
//	 (rate)   └─▶ lane …
//
// All records of a room go to the same lane. A lane publishes one record at a time and
// retries it until it is stored. So the order within a room holds whatever fails, and
// most rooms do not wait for each other.
const (
	laneCount = 64
	laneDepth = 16

	// publishPatience is how long one record is retried before publishing ends:
	// to continue without it would leave a gap in its room.
	publishPatience = 30 * time.Second
	publishTry      = 2 * time.Second        // timeout of one try, whose answer may be lost
	publishPause    = 250 * time.Millisecond // between two tries
)

var errNoPoked = errors.New("no poked serves this NATS: the streams do not exist; start poked first")

// lanes publishes records. mu guards count.
type lanes struct {
	publisher *publish.Publisher
	options   []publish.Option
	limit     *rate.Limiter
	bad       func(record, error) // called for every bad record, by many goroutines
	seed      maphash.Seed

	mu    sync.Mutex
	count publishCount
}

// publishCount counts the records by outcome.
type publishCount struct {
	Events   int `json:"events"`
	Receipts int `json:"receipts"`
	Bad      int `json:"bad"`
}

// publish publishes every record. It ends early when ctx ends, when the input cannot be
// read, or when a valid record cannot be stored. What was stored until then stays, and
// publishing it again is safe.
func (l *lanes) publish(ctx context.Context, records iter.Seq2[record, error]) error {
	group, ctx := errgroup.WithContext(ctx)
	queues := make([]chan record, laneCount)
	for i := range queues {
		queues[i] = make(chan record, laneDepth)
		group.Go(func() error { return l.work(ctx, queues[i]) })
	}
	group.Go(func() error {
		defer func() {
			for _, queue := range queues {
				close(queue)
			}
		}()
		return l.share(ctx, records, queues)
	})
	return group.Wait()
}

// share sends each record to the lane of its room, at the configured rate.
func (l *lanes) share(ctx context.Context, records iter.Seq2[record, error], queues []chan record) error {
	for rec, err := range records {
		if err != nil {
			return err
		}
		if err := l.limit.Wait(ctx); err != nil {
			return context.Cause(ctx)
		}
		room := gjson.GetBytes(rec.raw, "room_id").Str
		select {
		case queues[maphash.String(l.seed, room)%laneCount] <- rec:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (l *lanes) work(ctx context.Context, queue <-chan record) error {
	for rec := range queue {
		err := l.store(ctx, rec)
		if errors.Is(err, events.ErrBadEvent) {
			l.add(publishCount{Bad: 1})
			l.bad(rec, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", rec.file, rec.line, err)
		}
	}
	return nil
}

// store publishes a record until it is stored.
func (l *lanes) store(ctx context.Context, rec record) error {
	if rec.raw == nil {
		return fmt.Errorf("%w: %d bytes, the limit is %d", events.ErrBadEvent, rec.size, events.MaxEventBytes)
	}
	ctx, cancel := context.WithTimeout(ctx, publishPatience)
	defer cancel()
	for {
		err := l.try(ctx, rec)
		if err == nil || errors.Is(err, events.ErrBadEvent) {
			return err
		}
		// While a cluster elects a leader its streams do not answer either, so this
		// error is conclusive only if they never answered before.
		if errors.Is(err, stream.ErrNoStreams) && l.stored() == 0 {
			return errNoPoked
		}
		if wait.For(ctx, publishPause) != nil {
			return err
		}
	}
}

// try publishes a record once.
func (l *lanes) try(ctx context.Context, rec record) error {
	ctx, cancel := context.WithTimeout(ctx, publishTry)
	defer cancel()
	if gjson.GetBytes(rec.raw, "type").Str == "m.receipt" {
		if err := l.publisher.Receipt(ctx, rec.raw); err != nil {
			return err
		}
		l.add(publishCount{Receipts: 1})
		return nil
	}
	if err := l.publisher.Event(ctx, rec.raw, l.options...); err != nil {
		return err
	}
	l.add(publishCount{Events: 1})
	return nil
}

func (l *lanes) add(n publishCount) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count.Events += n.Events
	l.count.Receipts += n.Receipts
	l.count.Bad += n.Bad
}

func (l *lanes) stored() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count.Events + l.count.Receipts
}
