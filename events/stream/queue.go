package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/wait"
)

// maxDeadMessage is how much of an unreadable message a dead letter keeps, so
// that base64 does not take it over the 1 MiB that NATS allows.
const maxDeadMessage = 512 << 10

// PublishDead keeps a dead letter. done is called once and must not block.
func (c *Conn) PublishDead(letter events.DeadLetter, done func(error)) {
	letter.Message = letter.Message[:min(len(letter.Message), maxDeadMessage)]
	letter.Locate()
	user := events.Token(letter.UserID)
	c.publishJSON("dead."+c.partOf(user)+"."+user, letter, done)
}

// PublishRejection tells the registry that a gateway refused a pushkey. done is
// called once and must not block.
func (c *Conn) PublishRejection(r events.Rejection, done func(error)) {
	c.publishJSON(rejectedSubject(r.UserID), r, done)
}

func (c *Conn) publishJSON(subject string, value any, done func(error)) {
	body, err := json.Marshal(value)
	if err != nil {
		done(fmt.Errorf("encode: %w", err))
		return
	}
	batch := c.NewBatch(func(_ uint64, err error) { done(err) })
	batch.Add(subject, nil, body)
	batch.Send()
}

// parseAccountChange reads an account change that was published on a subject. Errors
// wrap [ErrBadEvent].
func parseAccountChange(subject string, raw []byte) (events.AccountChange, error) {
	var change events.AccountChange
	bad := func(why string) (events.AccountChange, error) {
		return events.AccountChange{}, fmt.Errorf("%w: %s", events.ErrBadEvent, why)
	}
	tokens := strings.Split(subject, ".")
	change.Kind = tokens[len(tokens)-1]
	if !slices.Contains([]string{events.AccountLogout, events.AccountDeactivated, events.AccountPushRules, events.AccountIgnoredUsers}, change.Kind) {
		return bad("no change of an account has the name at the end of " + subject)
	}
	if !json.Valid(raw) {
		return bad("not JSON")
	}
	if err := events.CheckJSON(raw); err != nil {
		return bad("it " + err.Error())
	}
	doc := gjson.ParseBytes(raw)
	user, device := doc.Get("user_id"), doc.Get("device_id")
	switch {
	case !doc.IsObject():
		return bad("not a JSON object")
	case events.HasTwice(doc):
		return bad("a key stands twice")
	case user.Type != gjson.String || !events.IsID(user.Str):
		return bad(fmt.Sprintf("user_id must have 1 to %d bytes", events.MaxIDBytes))
	case device.Type != gjson.String && device.Type != gjson.Null:
		return bad("device_id is not a string")
	}
	change.UserID, change.DeviceID = events.UserID(user.Str), device.Str
	if content := doc.Get("content"); content.Exists() {
		change.Content = json.RawMessage(content.Raw)
	}
	if want := events.AccountSubject(change.UserID, change.Kind); subject != want {
		return bad("its subject names another user than its user_id: published on " + subject + ", expected on " + want)
	}
	return change, nil
}

// parseRejection reads a refused pushkey that was published on a subject.
func parseRejection(subject string, raw []byte) (events.Rejection, error) {
	var r events.Rejection
	if err := json.Unmarshal(raw, &r); err != nil || !events.IsID(r.UserID) {
		return events.Rejection{}, fmt.Errorf("%w: not a refused pushkey with a user_id", events.ErrBadEvent)
	}
	if want := rejectedSubject(r.UserID); subject != want {
		return events.Rejection{}, fmt.Errorf("%w: its subject names another user than its user_id: published on %s, expected on %s", events.ErrBadEvent, subject, want)
	}
	return r, nil
}

func rejectedSubject(user events.UserID) string { return "rejected." + events.Token(user) }

// ConsumeRejections hands every refused pushkey to handle, until ctx ends. A
// rejection is forgotten when handle returns nil and comes again after an
// error.
func (c *Conn) ConsumeRejections(ctx context.Context, handle func(context.Context, events.Rejection) error) error {
	return c.work(ctx, streamRejected, "registry", []string{"rejected.*"}, func(ctx context.Context, msg jetstream.Msg) error {
		r, err := parseRejection(msg.Subject(), msg.Data())
		if err != nil {
			return err
		}
		return handle(ctx, r)
	})
}

// ConsumeAccounts hands every account change to handle, until ctx ends, under
// the same terms as [Conn.ConsumeRejections].
func (c *Conn) ConsumeAccounts(ctx context.Context, handle func(context.Context, events.AccountChange) error) error {
	// All there are: what nobody took would stay in the queue for ever.
	return c.work(ctx, streamAccounts, "registry", []string{"account.>"}, func(ctx context.Context, msg jetstream.Msg) error {
		change, err := parseAccountChange(msg.Subject(), msg.Data())
		if err != nil {
			return err
		}
		return handle(ctx, change)
	})
}

// work takes messages off a work queue. What cannot be read becomes a dead
// letter; what could not be done stays in the queue.
func (c *Conn) work(ctx context.Context, stream, durable string, subjects []string, handle func(context.Context, jetstream.Msg) error) error {
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
		_ = wait.For(ctx, RetryWait) // the loop looks at ctx
	}
	return nil
}

func (c *Conn) workBatch(ctx context.Context, stream, durable string, subjects []string, handle func(context.Context, jetstream.Msg) error) error {
	consumer, err := c.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: durable, FilterSubjects: subjects, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("create consumer: %w", err)
	}
	batch, err := consumer.Fetch(64, jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(defaultPulse))
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	for msg := range batch.Messages() {
		err := handle(ctx, msg)
		if errors.Is(err, events.ErrBadEvent) {
			err = c.bury(ctx, msg, err)
		}
		if err != nil {
			return err // comes again when its time to acknowledge is over
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

// bury keeps an unreadable message as a dead letter, so that it may be
// acknowledged.
func (c *Conn) bury(ctx context.Context, msg jetstream.Msg, reason error) error {
	c.log.Warn("unreadable message skipped", "subject", msg.Subject(), "error", reason)
	if meta, err := msg.Metadata(); err == nil {
		c.unreadables.add(meta.Stream, msg.Subject(), meta.Sequence.Stream)
	}
	kept := make(chan error, 1)
	c.PublishDead(events.DeadLetter{
		Reason: "bad_message", Detail: reason.Error(), At: time.Now(), Subject: msg.Subject(), Message: msg.Data(),
	}, func(err error) { kept <- err })
	select {
	case err := <-kept:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
