package stream

import (
	"context"
	"fmt"
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
