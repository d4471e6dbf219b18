package chaos

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Victims of faults. One that is named by its role is looked up when the fault begins.
const (
	victimBusiest  = "busiest"  // the dispatcher with the most CPU time
	victimAny      = "any"      // one of the dispatchers
	victimAll      = "all"      // all of them
	victimLeader   = "leader"   // the NATS server that leads NOTIFICATIONS
	victimFollower = "follower" // a NATS server that does not
	victimTwo      = "two"      // two of three NATS servers
	victimRegistry = "registry"
	victimServer   = "homeserver"
	victimGateway  = "gateway"
	victimDatabase = "database"
)

const (
	faultKill    = "kill"    // SIGKILL, then restart
	faultPause   = "pause"   // SIGSTOP, then SIGCONT
	faultStop    = "stop"    // SIGTERM, then restart
	faultIsolate = "isolate" // a NATS server loses its routes
	faultCut     = "cut"     // connections are closed, new ones refused
	faultStall   = "stall"   // what is sent is lost
	faultSlow    = "slow"    // what is sent is delayed by 200 ms
)

// fault is one fault of a schedule.
type fault struct {
	Track  string        `json:"track"`
	Kind   string        `json:"kind"`
	Victim string        `json:"victim"`
	After  time.Duration `json:"after_ns"` // pause before it, since the previous one of the track
	For    time.Duration `json:"for_ns"`
	random uint64        // chooses among several victims
}

// kindOfFault is a row of the table of possible faults.
type kindOfFault struct {
	kind, victim string
	weight       int
	least, most  time.Duration // duration
}

// track is a sequence of faults, one at a time. Tracks run in parallel.
type track struct {
	name        string
	kinds       []kindOfFault
	least, most time.Duration // pause between two faults
}

// allTracks returns all possible faults with their weights. Leases and pokes time out
// after 5 s, so some faults last longer than that.
func allTracks() []track {
	const ms, s = time.Millisecond, time.Second
	return []track{
		{"dispatcher", []kindOfFault{
			{faultKill, victimBusiest, 4, 0, 3 * s},
			{faultKill, victimAny, 1, 0, 3 * s},
			{faultKill, victimAll, 1, 0, 2 * s},
			{faultStop, victimBusiest, 3, 0, 2 * s},
			{faultPause, victimBusiest, 4, 500 * ms, 9 * s},
			{faultPause, victimAll, 1, 500 * ms, 4 * s},
		}, 1 * s, 5 * s},
		{"nats", []kindOfFault{
			{faultKill, victimLeader, 3, 200 * ms, 5 * s},
			{faultKill, victimFollower, 2, 200 * ms, 5 * s},
			{faultPause, victimLeader, 3, 500 * ms, 6 * s},
			{faultPause, victimFollower, 1, 500 * ms, 6 * s},
			{faultIsolate, victimLeader, 2, 1 * s, 6 * s},
			{faultIsolate, victimFollower, 1, 1 * s, 6 * s},
			{faultKill, victimTwo, 1, 200 * ms, 3 * s},
			{faultKill, victimAll, 1, 200 * ms, 2 * s},
		}, 3 * s, 8 * s},
		{"registry", []kindOfFault{
			{faultKill, victimRegistry, 2, 0, 2 * s},
			{faultPause, victimRegistry, 1, 500 * ms, 3 * s},
		}, 2 * s, 8 * s},
		{"link", []kindOfFault{
			{faultCut, victimBusiest, 4, 0, 7 * s},
			{faultStall, victimBusiest, 3, 500 * ms, 8 * s},
			{faultSlow, victimBusiest, 2, 1 * s, 4 * s},
			{faultCut, victimServer, 1, 0, 2 * s},
			{faultStall, victimServer, 1, 500 * ms, 3 * s},
			{faultCut, victimRegistry, 1, 0, 2 * s},
		}, 2 * s, 6 * s},
		{"gateway", []kindOfFault{
			{behaveError, victimGateway, 2, 500 * ms, 4 * s},
			{behaveBusy, victimGateway, 2, 500 * ms, 3 * s},
			{behaveDown, victimGateway, 2, 500 * ms, 4 * s},
			{behaveFlaky, victimGateway, 2, 1 * s, 4 * s},
			{behaveHang, victimGateway, 3, 500 * ms, 7 * s},
			{behaveSlow, victimGateway, 2, 1 * s, 4 * s},
			{faultCut, victimGateway, 3, 0, 3 * s},
			{faultStall, victimGateway, 2, 500 * ms, 4 * s},
		}, 500 * ms, 3 * s},
	}
}

// databaseTrack returns the faults of a PostgreSQL server.
func databaseTrack() track {
	const ms, s = time.Millisecond, time.Second
	return track{"database", []kindOfFault{
		{faultKill, victimDatabase, 2, 0, 3 * s},
		{faultPause, victimDatabase, 1, 500 * ms, 6 * s},
	}, 3 * s, 8 * s}
}

// schedule returns the faults of a track that begin within a duration.
func (t track) schedule(seed uint64, within time.Duration) []fault {
	// Each track has its own random source, so that a new kind of fault in one does not
	// change the others.
	var number uint64
	for _, c := range []byte(t.name) {
		number = number*31 + uint64(c)
	}
	rng := rand.New(rand.NewPCG(seed, number)) //nolint:gosec // it needs no secrecy
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(rng.Int64N(int64(most-least)+1))
	}
	var weighted []kindOfFault
	for _, k := range t.kinds {
		weighted = append(weighted, slices.Repeat([]kindOfFault{k}, k.weight)...)
	}
	var faults []fault
	for at := time.Duration(0); ; {
		k := weighted[rng.IntN(len(weighted))]
		f := fault{
			Track: t.name, Kind: k.kind, Victim: k.victim,
			After: between(t.least, t.most), For: between(k.least, k.most), random: rng.Uint64(),
		}
		if at += f.After; at >= within {
			return faults
		}
		at += f.For
		faults = append(faults, f)
	}
}
