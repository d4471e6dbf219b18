package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"

	"poked/events"
)

// parseAccountChange parses an account change and checks its subject. Errors wrap
// [events.ErrBadEvent].
func parseAccountChange(subject string, raw []byte) (events.AccountChange, error) {
	var change events.AccountChange
	bad := func(why string) (events.AccountChange, error) {
		return events.AccountChange{}, fmt.Errorf("%w: %s", events.ErrBadEvent, why)
	}
	tokens := strings.Split(subject, ".")
	change.Kind = tokens[len(tokens)-1]
	if !slices.Contains([]string{events.AccountLogout, events.AccountDeactivated, events.AccountPushRules, events.AccountIgnoredUsers, events.AccountDoNotDisturb, events.AccountRefetch}, change.Kind) {
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
		return bad("a key occurs twice")
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

// ConsumeAccounts calls handle with every account change until ctx ends, under the same
// terms as [Conn.ConsumeRejections].
func (c *Conn) ConsumeAccounts(ctx context.Context, handle func(context.Context, events.AccountChange) error) error {
	// The filter covers the whole stream: anything else would stay in the queue for ever.
	return c.work(ctx, streamAccounts, "registry", []string{"account.>"}, func(ctx context.Context, msg jetstream.Msg, made time.Time) error {
		change, err := parseAccountChange(msg.Subject(), msg.Data())
		if err != nil {
			return err
		}
		if meta, err := msg.Metadata(); err == nil {
			change.Seq = meta.Sequence.Stream
		}
		change.Log = made.UnixNano()
		return handle(ctx, change)
	})
}
