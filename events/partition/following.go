package partition

import (
	"cmp"
	"slices"
)

// Following is how a partition stands that this process works through.
type Following struct {
	Stage string
	Part  int
	// Waiting is how many messages of the partition the stream held beyond the
	// newest one that has come, at the time when that was sent.
	Waiting uint64
	Open    int // messages that were taken and are not done
	// Trouble is why nothing goes on though there is something to do, or "".
	Trouble string
}

// Following returns the partitions that this process works through, in order.
func (g *Group) Following() []Following {
	var all []Following
	g.running.Range(func(key, _ any) bool {
		f := key.(*Follower)
		all = append(all, Following{Stage: f.stage.Name, Part: f.part, Waiting: f.waiting.Load(), Open: f.Open(), Trouble: f.trouble()})
		return true
	})
	slices.SortFunc(all, func(a, b Following) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), a.Part-b.Part)
	})
	return all
}
