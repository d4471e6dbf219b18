package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// PublishRejection reports to the registry that a gateway refused a pushkey. done is
// called once and must not block.
func (c *Conn) PublishRejection(r events.Rejection, done func(error)) {
	c.publishJSON(rejectedSubject(r.UserID), r, done)
}

// parseRejection parses a rejection and checks its subject.
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

// ConsumeRejections calls handle with every rejection until ctx ends. A rejection is
// removed when handle returns nil, and delivered again after an error.
func (c *Conn) ConsumeRejections(ctx context.Context, handle func(context.Context, events.Rejection) error) error {
	return c.work(ctx, streamRejected, "registry", []string{"rejected.*"}, func(ctx context.Context, msg jetstream.Msg, _ time.Time) error {
		r, err := parseRejection(msg.Subject(), msg.Data())
		if err != nil {
			return err
		}
		return handle(ctx, r)
	})
}
