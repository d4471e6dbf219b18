package poke

import "time"

// Limit is the adaptive concurrency limit of one gateway: how many requests may be in
// flight there. It begins at a floor and grows while it is used up and the gateway answers
// well: below the threshold by one for each response, so that it doubles with every round
// trip, above it by one for each round trip (slow start and congestion avoidance, as in
// TCP). A sign of overload halves it, once for all requests in flight at that time.
type Limit struct {
	floor, Ceiling float64
	Value          float64 // the limit, with the fraction of the next step
	Threshold      float64 // from where on it grows slowly
	shrunkAt       time.Time
}

// NewLimit returns a limit at its floor, with the ceiling for a threshold.
func NewLimit(floor, ceiling int) Limit {
	return Limit{
		floor: float64(min(floor, ceiling)), Ceiling: float64(ceiling),
		Value: float64(min(floor, ceiling)), Threshold: float64(ceiling),
	}
}

// Places returns the limit as a number of requests.
func (m *Limit) Places() int { return int(m.Value) }

// Grow raises the limit after a good response that arrived while all places were in use.
func (m *Limit) Grow() {
	if m.Value < m.Threshold {
		m.Value++
	} else {
		m.Value += 1 / m.Value
	}
	m.Value = min(m.Value, m.Ceiling)
}

// Shrink halves the limit after a sign of overload from a request that began at a time.
func (m *Limit) Shrink(began, now time.Time) {
	if began.Before(m.shrunkAt) {
		return
	}
	m.Value = max(m.Value/2, m.floor)
	m.Threshold, m.shrunkAt = m.Value, now
}

// Restart sets the limit to its floor, after a time without requests. It doubles up to the
// threshold.
func (m *Limit) Restart(threshold float64, now time.Time) {
	m.Value, m.Threshold, m.shrunkAt = m.floor, threshold, now
}
