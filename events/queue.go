package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"poked/events/wait"

	"github.com/nats-io/nats.go/jetstream"
)

// DeadLetter is what will not be tried again: a poke that outlived its time to
// live, or a message that cannot be read. It keeps enough to try again by hand.
type DeadLetter struct {
	Reason    string    `json:"reason"` // "expired", "bad_event", "bad_notification", "bad_message", "bad_value"
	Detail    string    `json:"detail,omitempty"`
	At        time.Time `json:"at"`
	UserID    UserID    `json:"user_id,omitempty"`
	RoomID    RoomID    `json:"room_id,omitempty"`
	EventID   EventID   `json:"event_id,omitempty"`
	AppID     string    `json:"app_id,omitempty"`
	Pushkey   string    `json:"pushkey,omitempty"`
	Attempts  int       `json:"attempts,omitempty"`
	LastError string    `json:"last_error,omitempty"`
	Subject   string    `json:"subject,omitempty"` // where the message stood
	// Historical says that the message was a room event marked so.
	Historical bool `json:"historical,omitempty"`
	// Message is the message as it stood there, base64; for a poke that expired,
	// its notification ([Notification.AppendJSON]).
	Message []byte `json:"message,omitempty"`
}

// maxDeadMessage is how much of an unreadable message a dead letter keeps, so
// that base64 does not take it over the 1 MiB that NATS allows.
const maxDeadMessage = 512 << 10

// PublishDead keeps a dead letter. done is called once and must not block.
func (c *Conn) PublishDead(letter DeadLetter, done func(error)) {
	letter.Message = letter.Message[:min(len(letter.Message), maxDeadMessage)]
	letter.locate()
	user := Token(letter.UserID)
	c.publishJSON("dead."+c.partOf(user)+"."+user, letter, done)
}

// PublishRejection tells the registry that a gateway refused a pushkey. done is
// called once and must not block.
func (c *Conn) PublishRejection(r Rejection, done func(error)) {
	c.publishJSON("rejected."+Token(r.UserID), r, done)
}

func (c *Conn) publishJSON(subject string, value any, done func(error)) {
	body, err := json.Marshal(value)
	if err != nil {
		done(fmt.Errorf("encode: %w", err))
		return
	}
	batch := c.NewBatch(func(_ uint64, err error) { done(err) })
	batch.add(subject, nil, body)
	batch.Send()
}

// AccountChange is what a homeserver says of an account; see [Publisher].
type AccountChange struct {
	Kind     string // "logout", "deactivated", "push_rules" or "ignored_users"
	UserID   UserID `json:"user_id"`
	DeviceID string `json:"device_id"` // for logout; empty means all devices
	// Content is the account data m.push_rules or m.ignored_user_list.
	Content json.RawMessage `json:"content"`
}

// ConsumeRejections hands every refused pushkey to handle, until ctx ends. A
// rejection is forgotten when handle returns nil and comes again after an
// error.
func (c *Conn) ConsumeRejections(ctx context.Context, handle func(context.Context, Rejection) error) error {
	return c.work(ctx, streamRejected, "registry", []string{"rejected.*"}, func(ctx context.Context, msg jetstream.Msg) error {
		var r Rejection
		if err := json.Unmarshal(msg.Data(), &r); err != nil || r.UserID == "" {
			return errors.Join(ErrBadEvent, err)
		}
		return handle(ctx, r)
	})
}

// ConsumeAccounts hands every account change to handle, until ctx ends, under
// the same terms as [Conn.ConsumeRejections].
func (c *Conn) ConsumeAccounts(ctx context.Context, handle func(context.Context, AccountChange) error) error {
	subjects := []string{
		"account.*." + accountLogout, "account.*." + accountDeactivated,
		"account.*." + accountPushRules, "account.*." + accountIgnoredUsers,
	}
	return c.work(ctx, streamAccounts, "registry", subjects, func(ctx context.Context, msg jetstream.Msg) error {
		var change AccountChange
		if err := json.Unmarshal(msg.Data(), &change); err != nil || change.UserID == "" {
			return errors.Join(ErrBadEvent, err)
		}
		change.Kind = msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:]
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
		_ = wait.For(ctx, retryWait) // the loop looks at ctx
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
		if errors.Is(err, ErrBadEvent) {
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
	c.PublishDead(DeadLetter{
		Reason: "bad_message", Detail: reason.Error(), At: time.Now(), Subject: msg.Subject(), Message: msg.Data(),
	}, func(err error) { kept <- err })
	select {
	case err := <-kept:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
