package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"
)

// Stream returns a stream of the log, or [Dead], as it was when the topology was set; nil before.
func (c *Conn) Stream(name string) jetstream.Stream { return c.streams[name] }

// askStream returns a stream, with what the server says of it now.
func (c *Conn) askStream(ctx context.Context, name string) (jetstream.Stream, error) {
	return again(ctx, func(ctx context.Context) (jetstream.Stream, error) { return c.js.Stream(ctx, name) })
}

// LookUp returns a stream, with what the server says of it now. The error wraps [ErrNoStreams] if
// there is none.
func (c *Conn) LookUp(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := c.askStream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = ErrNoStreams
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return stream, nil
}

// Kept returns how long room events and notifications are kept.
func (c *Conn) Kept() time.Duration {
	return c.streams[c.topology.StreamOf(Notifications, 0)].CachedInfo().Config.MaxAge
}

// TrimLogs removes all but the newest messages of each stream of ROOMS and NOTIFICATIONS, as
// their age does in time.
func (c *Conn) TrimLogs(ctx context.Context, keep uint64) error {
	for _, name := range append(c.topology.StreamsOf(Rooms), c.topology.StreamsOf(Notifications)...) {
		if err := c.streams[name].Purge(ctx, jetstream.WithPurgeKeep(keep)); err != nil {
			return fmt.Errorf("trim log: %w", err)
		}
	}
	return nil
}

// StreamEnd returns when a stream was made, and its last sequence.
func (c *Conn) StreamEnd(ctx context.Context, name string) (made time.Time, lastSeq uint64, err error) {
	stream, err := c.askStream(ctx, name)
	if err != nil {
		return time.Time{}, 0, fmt.Errorf("look up stream %s: %w", name, err)
	}
	info := stream.CachedInfo()
	return info.Created, info.State.LastSeq, nil
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

// MoveLeader makes a server the leader of a stream, if it has a replica. It is for
// measurements.
func (c *Conn) MoveLeader(ctx context.Context, stream, server string) error {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	request := fmt.Sprintf(`{"placement":{"preferred":%q}}`, server)
	answer, err := c.nc.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, []byte(request))
	if err != nil {
		return fmt.Errorf("move the leader of %s: %w", stream, err)
	}
	if !gjson.GetBytes(answer.Data, "success").Bool() {
		return fmt.Errorf("move the leader of %s to %s: %s", stream, server, gjson.GetBytes(answer.Data, "error.description").Str)
	}
	return nil
}
