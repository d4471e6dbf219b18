package stream

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/tidwall/gjson"
)

// LogWrites counts writes to NOTIFICATIONS.
type LogWrites struct {
	Stored  uint64 // messages
	Removed uint64 // requests to purge or to delete messages, each of which is a write
}

// advisories is the subject on which a NATS server reports requests to JetStream (NATS
// documentation, "JetStream API"), and auditLimit is how many reports are buffered.
const (
	advisories = "$JS.EVENT.ADVISORY.API"
	auditLimit = 1 << 16
)

// CountLogWrites calls during, which removes this many notifications, and returns
// everything that was written to NOTIFICATIONS meanwhile, by any process. It is for
// measurements. The server reports a request shortly after it has answered it, so
// CountLogWrites waits until that many removals were reported, or ctx ends.
func (c *Conn) CountLogWrites(ctx context.Context, removed uint64, during func() error) (LogWrites, error) {
	audit := make(chan *nats.Msg, auditLimit)
	sub, err := c.nc.ChanSubscribe(advisories, audit)
	if err != nil {
		return LogWrites{}, fmt.Errorf("audit %s: %w", Notifications, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be gone, and the subscription with it
	before, err := c.lastStored(ctx)
	if err == nil {
		err = during()
	}
	if err != nil {
		return LogWrites{}, err
	}
	var writes LogWrites
	for reported := uint64(0); reported < removed; {
		select {
		case <-ctx.Done():
			return writes, context.Cause(ctx)
		case msg := <-audit:
			reported += writes.audit(msg.Data)
		}
	}
	after, err := c.lastStored(ctx)
	writes.Stored = after - before
	for range len(audit) {
		writes.audit((<-audit).Data)
	}
	return writes, err
}

// audit counts a request to JetStream from the server's report, and returns how many
// messages of NOTIFICATIONS it removed.
func (w *LogWrites) audit(raw []byte) (removed uint64) {
	subject := gjson.GetBytes(raw, "subject").Str
	request, ours := strings.CutSuffix(subject, "."+Notifications)
	response := gjson.Parse(gjson.GetBytes(raw, "response").Str)
	switch {
	case ours && request == "$JS.API.STREAM.PURGE":
		removed = response.Get("purged").Uint()
	case ours && request == "$JS.API.STREAM.MSG.DELETE":
		removed = 1
	default:
		return 0
	}
	w.Removed++
	return removed
}

func (c *Conn) lastStored(ctx context.Context) (uint64, error) {
	info, err := c.notifications.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the state of %s: %w", Notifications, err)
	}
	return info.State.LastSeq, nil
}

// AskStreams returns the present state of every stream and bucket. It is for measurements:
// [Conn.Streams] asks nothing.
func (c *Conn) AskStreams(ctx context.Context) ([]Status, error) {
	var all []Status
	list := c.js.ListStreams(ctx)
	for info := range list.Info() {
		all = append(all, Status{
			Name: info.Config.Name, Messages: info.State.Msgs, Bytes: info.State.Bytes,
			LastSeq: info.State.LastSeq, LastTime: info.State.LastTime,
		})
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list the streams: %w", err)
	}
	return all, nil
}
