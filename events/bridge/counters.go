package bridge

import (
	"net/http"
	"sync/atomic"
	"time"
)

// counters are the live counters behind Counts.
type counters struct {
	transactions, events, receipts atomic.Uint64
	repeated, late, bad, ignored   atomic.Uint64
	seeded, withoutState, badState atomic.Uint64

	refused [len(refusals)]atomic.Uint64
	last    atomic.Int64 // when a transaction was stored last, Unix nanoseconds
	seeding atomic.Int64 // rooms whose state is being fetched
}

// Refusal is why a request of the homeserver was refused.
type Refusal string

// The reasons of refusals.
const (
	RefusedToken      Refusal = "token"      // without the hs_token
	RefusedMalformed  Refusal = "malformed"  // not a transaction
	RefusedUnstored   Refusal = "unstored"   // NATS does not store, or the one before is not stored yet
	RefusedHomeserver Refusal = "homeserver" // the homeserver did not return a room's state
)

var refusals = [...]Refusal{RefusedToken, RefusedMalformed, RefusedUnstored, RefusedHomeserver} //nolint:gochecknoglobals // an array has no constants

// refuse counts a request that is answered with an error.
func (c *counters) refuse(status int) {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		c.refused[0].Add(1)
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		c.refused[1].Add(1)
	case http.StatusServiceUnavailable:
		c.refused[2].Add(1)
	case http.StatusBadGateway:
		c.refused[3].Add(1)
	}
}

// Health is the state of a bridge, for metrics.
type Health struct {
	Counts

	Last    time.Time          // when a transaction was stored last; zero if none was since the start
	Seeding int                // rooms whose state is being fetched
	Refused map[Refusal]uint64 // requests of the homeserver, since the start
}

// Health returns the state of the bridge.
func (b *Bridge) Health() Health {
	h := Health{Counts: b.Counts(), Seeding: int(b.counts.seeding.Load()), Refused: map[Refusal]uint64{}}
	if last := b.counts.last.Load(); last != 0 {
		h.Last = time.Unix(0, last)
	}
	for i, why := range refusals {
		h.Refused[why] = b.counts.refused[i].Load()
	}
	return h
}

// Unready returns why the bridge cannot do all of its work, or "".
func (b *Bridge) Unready() string { return b.seeder.registered.Unready() }

// Counts counts what a bridge did since its start.
type Counts struct {
	Transactions uint64 `json:"transactions"`  // answered with 200
	Events       uint64 `json:"events"`        // stored
	Receipts     uint64 `json:"receipts"`      // stored
	Repeated     uint64 `json:"repeated"`      // events that had been stored before
	Late         uint64 `json:"late"`          // stored events that were too old to notify
	Bad          uint64 `json:"bad"`           // events and receipts that became dead letters
	Ignored      uint64 `json:"ignored"`       // what is neither event nor receipt, such as typing
	Seeded       uint64 `json:"seeded"`        // rooms whose state was fetched
	BadState     uint64 `json:"bad_state"`     // events of such a state that could not be parsed
	WithoutState uint64 `json:"without_state"` // batches of a room's events stored without its state
}

// Counts returns the counters since the start.
func (b *Bridge) Counts() Counts {
	c := &b.counts
	return Counts{
		Transactions: c.transactions.Load(), Events: c.events.Load(), Receipts: c.receipts.Load(),
		Repeated: c.repeated.Load(), Late: c.late.Load(), Bad: c.bad.Load(), Ignored: c.ignored.Load(),
		Seeded: c.seeded.Load(), BadState: c.badState.Load(), WithoutState: c.withoutState.Load(),
	}
}
