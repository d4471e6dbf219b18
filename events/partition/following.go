package partition

import (
	"cmp"
	"slices"
)

// Following is the state of a partition that this process follows.
type Following struct {
	Stage string
	Part  int
	// Waiting is how many messages the stream had beyond the newest received one, when
	// that was sent.
	Waiting uint64
	Open    int // messages that were handed out and are not done
	// Trouble is why there is no progress although there is work, or "".
	Trouble string
}

// Following returns the partitions that this process follows, in order.
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
