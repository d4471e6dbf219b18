package poke

import "time"

// Limit is how many requests may be in flight at one gateway, as far as we know
// what it bears. It begins at the floor and grows while it is used up and the
// gateway answers well: below the threshold by one for each answer, so that it
// doubles with every round trip, above it by one for each round trip. A sign of
// overload halves it, once for all requests that were out at that time.
type Limit struct {
	floor, Ceiling float64
	Value          float64
	Threshold      float64
	shrunkAt       time.Time
}

func NewLimit(floor, ceiling int) Limit {
	return Limit{
		floor: float64(min(floor, ceiling)), Ceiling: float64(ceiling),
		Value: float64(min(floor, ceiling)), Threshold: float64(ceiling),
	}
}

func (m *Limit) Places() int { return int(m.Value) }

// Grow takes in a good answer that came while all places were in use.
func (m *Limit) Grow() {
	if m.Value < m.Threshold {
		m.Value++
	} else {
		m.Value += 1 / m.Value
	}
	m.Value = min(m.Value, m.Ceiling)
}

// Shrink takes in that a request which began at that time was too much.
func (m *Limit) Shrink(began, now time.Time) {
	if began.Before(m.shrunkAt) {
		return
	}
	m.Value = max(m.Value/2, m.floor)
	m.Threshold, m.shrunkAt = m.Value, now
}

// Restart begins at the floor again, as after a time in which the gateway got
// nothing, and doubles up to the threshold.
func (m *Limit) Restart(threshold float64, now time.Time) {
	m.Value, m.Threshold, m.shrunkAt = m.floor, threshold, now
}
