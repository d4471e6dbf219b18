package dispatcher

import (
	"context"
	"sync"

	"poked/dispatcher/directory"
	"poked/events"
)

// Load has the dispatcher know what one knows that owns some partitions, and
// follow its changes until ctx ends, but do nothing with it: memory and the time
// of starting up can be measured so. It calls loaded when all is known.
func (d *Dispatcher) Load(ctx context.Context, owns func(part int) bool, loaded func()) error {
	dir := directory.New(d.policy, d.log, d.conn.Partitions(), func(events.UserID) {})
	var others []int
	for part := range d.conn.Partitions() {
		if !owns(part) {
			others = append(others, part)
		}
	}
	dir.Lose(others...)
	var following sync.WaitGroup
	defer following.Wait()
	if d.follow(ctx, &following, d.known(ctx, dir)) {
		loaded()
		<-ctx.Done()
	}
	return nil
}
