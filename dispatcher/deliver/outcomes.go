package deliver

import (
	"sync/atomic"

	"poked/dispatcher/poke"
)

// outcomeCounts counts tries.
type outcomeCounts [poke.Kinds][poke.Classes]atomic.Uint64

// of returns how many tries had one of some outcomes.
func (t *outcomeCounts) of(kinds ...poke.Kind) (n uint64) {
	for _, kind := range kinds {
		for class := range t[kind] {
			n += t[kind][class].Load()
		}
	}
	return n
}

func (t *outcomeCounts) add(out poke.Outcome) { t[out.Kind][out.Class].Add(1) }

// Tries says how often tries to tell something had an outcome.
type Tries struct {
	// Outcome is delivered, rejected, retry, slow, paused or expired; what is
	// paused or expired was not sent.
	Outcome poke.Kind
	// Class says more: one of a few words for what went wrong.
	Class poke.Class
	Count uint64
}

// tries returns what was counted, without what never happened.
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
