package events

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

// CountLogWrites calls a function and returns what anybody wrote to NOTIFICATIONS
// meanwhile. It is for measurements: the server tells of requests as they come, and
// of none that it did not keep up with.
func (c *Conn) CountLogWrites(ctx context.Context, during func() error) (LogWrites, error) {
	audit := make(chan *nats.Msg, auditLimit)
	sub, err := c.nc.ChanSubscribe(advisories, audit)
	if err != nil {
		return LogWrites{}, fmt.Errorf("audit %s: %w", streamNotifications, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be gone, and the subscription with it
	before, err := c.lastStored(ctx)
	if err == nil {
		err = during()
	}
	if err != nil {
		return LogWrites{}, err
	}
	after, err := c.lastStored(ctx)
	if err != nil {
		return LogWrites{}, err
	}
	writes := LogWrites{Stored: after - before}
	for range len(audit) {
		if removes(gjson.GetBytes((<-audit).Data, "subject").Str) {
			writes.Removed++
		}
	}
	return writes, nil
}

// removes says whether a request to JetStream removes messages of NOTIFICATIONS.
func removes(subject string) bool {
	request, ours := strings.CutSuffix(subject, "."+streamNotifications)
	return ours && (request == "$JS.API.STREAM.PURGE" || request == "$JS.API.STREAM.MSG.DELETE")
}

func (c *Conn) lastStored(ctx context.Context) (uint64, error) {
	info, err := c.notifications.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the state of %s: %w", streamNotifications, err)
	}
	return info.State.LastSeq, nil
}
