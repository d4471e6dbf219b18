// Package partition follows the partitions of a stream, and shares them among workers as
// the members of a consumer group do.
//
// # Following
//
// A [Follower] reads one partition in stream order. How far it has been worked through is
// a [Position] in the bucket POSITIONS: everything up to Next is done except the sequences
// in Open. It is written as soon as something is done, at most every 10 ms, on the
// condition that nobody else has written since. That makes it a fence as well: a worker
// that has lost its partition can no longer move it. It replaces server-side
// acknowledgements, which cost a message each, reach the disk up to 100 ms late, and let a
// restarted worker see new messages before the ones its predecessor left unfinished.
//
// # Sharing
//
// A worker owns a partition with all of its stages ([Worker.Share]). Two things are
// written down, and every worker sees both change by change:
//
//	WORKERS    worker.<id>   a heartbeat, which NATS forgets after 5 s without another
//	POSITIONS  part.<part>   the owner of a partition, or nobody; only ever compare-and-set
//
// Who should own what follows from who is there: rendezvous hashing, but no worker gets more
// than one partition more than another. All come to the same answer, and little more moves
// than has to. A worker takes what should be its own once it is nobody's, or belongs to a
// worker whose heartbeat the leader of WORKERS no longer has. It ends its work within a
// second on what should be another's, and only then writes that it is nobody's.
//
// A heartbeat that is answered is a [Lease] on everything that the worker owns, for a
// little less than NATS keeps it. Without it the worker begins nothing and writes nothing.
// If a heartbeat does not find the one before it, others may have taken the worker for
// dead: it writes its name under each of its partitions again before it renews its lease.
// So an hour without NATS costs nothing, and two workers own the same partition only if
// clocks or a paused process deceive them; then the position is the fence, and a poke is
// sent twice (G2).
//
// NATS's pinned consumers are not used: they pin who receives messages to acknowledge,
// which nobody does here, and they are not exclusive either.
//
// # What fails, and how
//
//	a worker dies            its successors start at its positions after 5 to 6 s; what it may have
//	                         handled without recording arrives with Replayed set
//	position unreadable      kept as a dead letter; the partition begins with what the stream has, as replayed
//	position not stored      after a second nothing more is read
//	lease not renewed        nothing begins until it is
//	another has taken over   [ErrFenced], and the work on that partition ends
//	stream made anew         [stream.ErrRemade], and the partition is followed from its start
package partition

import (
	"context"
	"sync"

	"poked/events/stream"
)

// Group is the workers of one consumer group as one process takes part in it: the
// partitions that it follows, and its worker. Make one for each connection.
type Group struct {
	conn    *stream.Conn
	running sync.Map // the followers that run
}

// NewGroup returns the group over a connection whose topology is known.
func NewGroup(conn *stream.Conn) *Group { return &Group{conn: conn} }

// OwnAll has own work on every partition until ctx ends, as [Worker.Share] does,
// for one who has no rival and needs no lease. What fails is not begun anew.
func (g *Group) OwnAll(ctx context.Context, own func(context.Context, *Tenure) error, ready func()) {
	batch := newBatch(g.conn.Partitions())
	tenures := make([]*Tenure, g.conn.Partitions())
	for part := range tenures {
		tenures[part] = &Tenure{Part: part, batch: batch, wake: func() {}}
		tenures[part].begin(ctx, own)
	}
	<-batch.all
	ready()
	for _, t := range tenures {
		if <-t.ended; t.err != nil {
			g.conn.Log().Warn(workEnded, "part", t.Part, "error", t.err)
		}
	}
}
