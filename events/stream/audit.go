package stream

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/tidwall/gjson"
)

// LogWrites is what was written to NOTIFICATIONS.
type LogWrites struct {
	Stored  uint64 // messages
	Removed uint64 // requests to purge or to delete messages, each a write of its own
}

// advisories is where a NATS server tells of requests to JetStream (NATS
// documentation, "JetStream API": $JS.EVENT.ADVISORY.API), and auditLimit is how
// many of them may wait.
const (
	advisories = "$JS.EVENT.ADVISORY.API"
	auditLimit = 1 << 16
)

// CountLogWrites calls a function which has a number of notifications removed from
// NOTIFICATIONS, and returns what anybody wrote there meanwhile. It is for
// measurements: the server tells of requests soon after it has answered them, so it
// waits until it was told of as many removals, or ctx ends.
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
	for told := uint64(0); told < removed; {
		select {
		case <-ctx.Done():
			return writes, context.Cause(ctx)
		case msg := <-audit:
			told += writes.audit(msg.Data)
		}
	}
	after, err := c.lastStored(ctx)
	writes.Stored = after - before
	for range len(audit) {
		writes.audit((<-audit).Data)
	}
	return writes, err
}

// audit takes in a request to JetStream as the server tells of it, and returns how
// many messages of NOTIFICATIONS it removed.
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
