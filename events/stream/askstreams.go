package stream

import (
	"context"
	"fmt"

	"github.com/tidwall/gjson"
)

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
