package dispatcher

import (
	"context"
	"slices"
	"sync"
	"time"

	"poked/events/wait"
)

// releaseAfter is how long the pushers of a partition that went are kept: it may come
// back, and who is to take it must not wait for their memory to be given back.
const releaseAfter = 5 * time.Second

// releases is the partitions that are no longer ours and whose pushers are still known
// in full.
type releases struct {
	mu    sync.Mutex // held while pushers are let go
	parts map[int]time.Time
}

// add has the pushers of a partition be let go soon.
func (s *releases) add(part int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts == nil {
		s.parts = map[int]time.Time{}
	}
	s.parts[part] = time.Now()
}

// keep has them be kept after all.
func (s *releases) keep(part int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parts, part)
}

// due lets go of those that have waited long enough.
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

// gain has the directory know the pushers of a partition in full.
func (all *delivery) gain(ctx context.Context, part int) error {
	all.releases.keep(part)
	return all.dir.Gain(ctx, part, all.d.conn.PushersIn)
}

// lighten lets go of what is known of partitions that went, until ctx ends.
func (all *delivery) lighten(ctx context.Context) {
	wait.Every(ctx, releaseAfter, func(now time.Time) {
		all.releases.due(now, all.dir.Lose)
		all.dir.ForgetFormer(now)
	})
}

// expectShare prepares the directory for what is to come: one who is alone will
// have every partition and knows all pushers at once; who joins others is told of
// them partition by partition.
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
