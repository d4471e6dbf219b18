package bridge

import "sync/atomic"

// counters are the live counters behind Counts.
type counters struct {
	transactions, events, receipts atomic.Uint64
	repeated, late, bad, ignored   atomic.Uint64
	seeded, withoutState, badState atomic.Uint64
}

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
