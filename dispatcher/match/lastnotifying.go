package match

import "poked/events"

// lastNotifying holds the newest events of a room that notified anybody, as sequences of
// ROOMS.
type lastNotifying struct {
	since   uint64 // events up to this one are not known
	main    uint64 // the newest in the main timeline
	threads uint64 // the newest in any thread
}

func (n *lastNotifying) add(seq uint64, thread events.EventID) {
	if thread == "" {
		n.main = max(n.main, seq)
	} else {
		n.threads = max(n.threads, seq)
	}
}

// after reports whether an event that a read covers may have notified anybody, and is newer
// than what the member has read already.
func (n *lastNotifying) after(k *readMarker, read events.Read) bool {
	main, threads := max(k.whole, k.main), k.upTo(read)
	if read.Whole {
		threads = k.whole
	}
	inMain := main < max(n.since, n.main)
	inThreads := threads < max(n.since, n.threads)
	switch {
	case read.Whole:
		return inMain || inThreads
	case read.Thread == "":
		return inMain
	}
	return inThreads
}
