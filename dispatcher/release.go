package dispatcher

import (
	"context"
	"slices"
	"sync"
	"time"

	"poked/events/wait"
)

// releaseAfter is how long the pushers of a lost partition are kept in full: the partition
// may come back, and its next owner must not wait until their memory is freed.
const releaseAfter = 5 * time.Second

// releases are the partitions that this dispatcher lost and whose pushers the directory
// still keeps in full.
type releases struct {
	mu    sync.Mutex // held while pushers are released
	parts map[int]time.Time
}

// add schedules the release of a partition's pushers.
func (s *releases) add(part int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts == nil {
		s.parts = map[int]time.Time{}
	}
	s.parts[part] = time.Now()
}

// keep cancels the release.
func (s *releases) keep(part int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parts, part)
}

// due releases the partitions that were lost long enough ago.
func (s *releases) due(now time.Time, lose func(parts ...int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []int
	for part, since := range s.parts {
		if now.Sub(since) >= releaseAfter {
			parts = append(parts, part)
			delete(s.parts, part)
		}
	}
	if len(parts) > 0 {
		slices.Sort(parts)
		lose(parts...)
	}
}

// gain makes the directory load the pushers of a partition in full.
func (all *delivery) gain(ctx context.Context, part int) error {
	all.releases.keep(part)
	return all.dir.Gain(ctx, part, all.d.conn.PushersIn)
}

// lighten releases lost partitions when they are due, until ctx ends.
func (all *delivery) lighten(ctx context.Context) {
	wait.Every(ctx, releaseAfter, func(now time.Time) {
		all.releases.due(now, all.dir.Lose)
		all.dir.ForgetFormer(now)
	})
}

// expectShare prepares the directory. A dispatcher that is alone will own every partition
// and loads all pushers at once; one that joins others loads them partition by partition.
func (all *delivery) expectShare(ctx context.Context) {
	others, err := all.d.group.HasWorkers(ctx)
	if err != nil || !others {
		for part := range all.byPart {
			all.releases.add(part) // unless it is owned by then
		}
		return
	}
	parts := make([]int, len(all.byPart))
	for part := range parts {
		parts[part] = part
	}
	all.dir.Lose(parts...)
}
