package deliver

import (
	"sync/atomic"

	"poked/dispatcher/poke"
)

// outcomeCounts counts tries by outcome.
type outcomeCounts [poke.Kinds][poke.Classes]atomic.Uint64

// of returns how many tries had an outcome of one of the kinds.
func (t *outcomeCounts) of(kinds ...poke.Kind) (n uint64) {
	for _, kind := range kinds {
		for class := range t[kind] {
			n += t[kind][class].Load()
		}
	}
	return n
}

func (t *outcomeCounts) add(out poke.Outcome) { t[out.Kind][out.Class].Add(1) }

// Tries is how often tries had an outcome. What is paused or expired was not sent.
type Tries struct {
	Outcome poke.Kind
	Class   poke.Class
	Count   uint64
}

// tries returns the outcomes that have occurred.
func (t *outcomeCounts) tries() (all []Tries) {
	for kind := range poke.Kinds {
		for class := range poke.Classes {
			if n := t[kind][class].Load(); n > 0 {
				all = append(all, Tries{Outcome: kind, Class: class, Count: n})
			}
		}
	}
	return all
}
