package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
	"poked/events/wait"
)

// working handles a message. made is when the consumer was made.
type working func(ctx context.Context, msg jetstream.Msg, made time.Time) error

// ackWait is how long a message may be handled, and so how long one waits whose process is
// paused or gone until another gets it.
const ackWait = 10 * time.Second

// work consumes a work queue, which any number of processes share. An unreadable message becomes a dead letter; a message
// whose handling failed stays in the queue.
func (c *Conn) work(ctx context.Context, stream, durable string, subjects []string, handle working) error {
	log := c.log.With("stream", stream)
	for failing := false; ctx.Err() == nil; {
		err := c.workBatch(ctx, stream, durable, subjects, handle)
		if err == nil {
			failing = false
			continue
		}
		if !failing && ctx.Err() == nil {
			log.Warn("cannot work on the queue, trying until it works", "error", err)
		}
		failing = true
		_ = wait.For(ctx, wait.RetryPause) // the loop checks ctx
	}
	return nil
}

func (c *Conn) workBatch(ctx context.Context, stream, durable string, subjects []string, handle working) error {
	consumer, err := c.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: durable, FilterSubjects: subjects, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
	})
	if err != nil {
		return fmt.Errorf("create consumer: %w", err)
	}
	batch, err := consumer.Fetch(64, jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(defaultPulse))
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	for msg := range batch.Messages() {
		err := handle(ctx, msg, consumer.CachedInfo().Created)
		if errors.Is(err, events.ErrBadEvent) {
			err = c.bury(ctx, msg, err)
		}
		if err != nil {
			return err // it is delivered again after AckWait
		}
		if err := msg.Ack(); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
	}
	if err := batch.Error(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("fetch: %w", err)
	}
	return nil
}

// bury stores an unreadable message as a dead letter, so that it can be acknowledged.
func (c *Conn) bury(ctx context.Context, msg jetstream.Msg, reason error) error {
	c.log.Warn("unreadable message skipped", "subject", msg.Subject(), "error", reason)
	if meta, err := msg.Metadata(); err == nil {
		c.unreadables.add(meta.Stream, msg.Subject(), meta.Sequence.Stream)
	}
	kept := make(chan error, 1)
	c.PublishDead(events.DeadLetter{
		Reason: events.DeadBadMessage, Detail: reason.Error(), At: time.Now(), Subject: msg.Subject(), Message: msg.Data(),
	}, func(err error) { kept <- err })
	select {
	case err := <-kept:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
