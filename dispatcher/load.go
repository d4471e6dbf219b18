package dispatcher

import (
	"context"
	"sync"

	"poked/dispatcher/directory"
	"poked/events"
)

// Load keeps the directory of a dispatcher that owns some partitions, until ctx ends, and
// does nothing with it. The bench measures memory and the time of a start this way. Load
// calls loaded once everything is loaded.
func (d *Dispatcher) Load(ctx context.Context, owns func(part int) bool, loaded func()) error {
	dir := directory.New(d.policy, d.log, d.conn.Topology().Partitions, func(events.UserID) {})
	var others []int
	for part := range d.conn.Topology().Partitions {
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
