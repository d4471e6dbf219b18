package dispatcher

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Load has the dispatcher know what one knows that owns some partitions, and
// follow its changes until ctx ends, but do nothing with it: memory and the time
// of starting up can be measured so. It calls loaded when all is known.
func (d *Dispatcher) Load(ctx context.Context, owns func(part int) bool, loaded func()) error {
	dir := newDirectory(d.policy, d.log, d.conn.Partitions())
	var others []int
	for part := range d.conn.Partitions() {
		if !owns(part) {
			others = append(others, part)
		}
	}
	dir.lose(others...)
	group, ctx := errgroup.WithContext(ctx)
	buckets := d.feed(ctx, group, dir)
	group.Go(func() error {
		for _, bucket := range buckets {
			select {
			case <-bucket:
			case <-ctx.Done():
				return nil
			}
		}
		loaded()
		return nil
	})
	return group.Wait()
}
