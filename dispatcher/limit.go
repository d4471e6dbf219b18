package dispatcher

import "time"

// limit is how many requests may be in flight at one gateway, as far as we know
// what it bears. It begins at the floor and grows while it is used up and the
// gateway answers well: below the threshold by one for each answer, so that it
// doubles with every round trip, above it by one for each round trip. A sign of
// overload halves it, once for all requests that were out at that time.
type limit struct {
	floor, ceiling float64
	value          float64
	threshold      float64
	shrunkAt       time.Time
}

func newLimit(floor, ceiling int) limit {
	return limit{
		floor: float64(min(floor, ceiling)), ceiling: float64(ceiling),
		value: float64(min(floor, ceiling)), threshold: float64(ceiling),
	}
}

func (m *limit) places() int { return int(m.value) }

// grow takes in a good answer that came while all places were in use.
func (m *limit) grow() {
	if m.value < m.threshold {
		m.value++
	} else {
		m.value += 1 / m.value
	}
	m.value = min(m.value, m.ceiling)
}

// shrink takes in that a request which began at that time was too much.
func (m *limit) shrink(began, now time.Time) {
	if began.Before(m.shrunkAt) {
		return
	}
	m.value = max(m.value/2, m.floor)
	m.threshold, m.shrunkAt = m.value, now
}

// restart begins at the floor again, as after a time in which the gateway got
// nothing, and doubles up to the threshold.
func (m *limit) restart(threshold float64, now time.Time) {
	m.value, m.threshold, m.shrunkAt = m.floor, threshold, now
}
