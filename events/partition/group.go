// Package partition follows the partitions of a stream, and shares them among workers as
// the members of a consumer group do.
//
// # Following
//
// A [Follower] reads one partition in stream order. How far it is processed is a
// [Position] in the bucket POSITIONS: everything up to Next is done except the sequences
// in Open. It is written as soon as something is done, at most every 10 ms (of match: 100), on the
// condition that nobody else has written since. That makes it a fence as well: a worker
// that has lost its partition can no longer move it. It replaces server-side
// acknowledgements, which cost a message each, reach the disk up to 100 ms late, and let a
// restarted worker see new messages before the ones its predecessor left unfinished.
//
// A position of match also says after which sequence of NOTIFICATIONS everything is that its
// open messages have written (Log): a successor writes that again, and whoever reads the log
// looks from there on for what was written first. What that may have to read is bounded by
// what was written since the oldest open message began, plus 16 384 messages. A position of
// deliver also says which users of an open message are done (Parts).
//
// A follower may begin before its position, to build up state from messages that are done
// ([Follower.Replay]).
//
// # Sharing
//
// A worker owns a partition with all of its stages ([Worker.Share]). Every worker watches
// two kinds of keys:
//
//	WORKERS    worker.<id>   a heartbeat, which expires after 5 s
//	POSITIONS  part.<part>   the owner of a partition, or empty; written by compare-and-set
//
// The assignment follows from the workers that are present: rendezvous hashing, but no worker
// gets more than one partition more than another. All workers compute the same assignment,
// and few partitions move. A worker takes a partition that is assigned to it once it has no
// owner, or once the leader of WORKERS has no heartbeat of the owner any more. It ends its
// work on a partition that is assigned to another within a second, and then clears the owner.
//
// A heartbeat that NATS acknowledged is a [Lease] on everything that the worker owns, for
// slightly less than NATS keeps it. Without a lease the worker begins nothing and writes
// nothing. If a heartbeat does not find the one before it, others may have taken the worker
// for dead: it writes its name under each of its partitions again before it renews its
// lease. So an hour without NATS costs nothing, and two workers own the same partition only
// after a wrong clock or a paused process; then the position is the fence, and a poke may be
// sent twice (G2).
//
// NATS's pinned consumers are not used: they need acknowledgements, and they are not
// exclusive either.
//
// # What fails, and how
//
//	a worker dies            its successors start at its positions after 5 to 6 s; what it may have
//	                         handled without recording arrives with Replayed set
//	position unreadable      kept as a dead letter; the partition begins with what the stream has, as replayed
//	position not stored      after a second nothing more is read
//	handler waits for NATS   the position is stored all the same, by a goroutine of its own
//	lease not renewed        nothing begins until it is
//	another has taken over   [ErrFenced], and the work on that partition ends
//	stream made anew         [stream.ErrRemade], and the partition is followed from its start
//	stream loses its end     (power cut) noticed at a reconnect before anything new is received, and at a
//	                         take-over, by the newest message; the partition is followed from what is left, also
//	                         if new messages have its sequences by then
package partition

import (
	"context"
	"errors"
	"sync"

	"poked/events/stream"
)

// Group is one process's part in the consumer group: the partitions that it follows, and
// its worker. Make one for each connection.
type Group struct {
	conn    *stream.Conn
	running sync.Map // the followers that run
}

// NewGroup returns the group over a connection whose topology is known.
func NewGroup(conn *stream.Conn) *Group { return &Group{conn: conn} }

// OwnAll owns every partition until ctx ends, like [Worker.Share] but for a process
// without rivals, which needs no lease. Work that fails is not restarted, unless it was
// only disturbed ([ErrDisturbed]).
func (g *Group) OwnAll(ctx context.Context, own func(context.Context, *Tenure) error, ready func()) {
	batch := newBatch(g.conn.Topology().Partitions)
	tenures := make([]*Tenure, g.conn.Topology().Partitions)
	for part := range tenures {
		tenures[part] = &Tenure{Part: part, batch: batch, wake: func() {}}
		tenures[part].begin(ctx, func(ctx context.Context, t *Tenure) (err error) {
			for err = own(ctx, t); errors.Is(err, ErrDisturbed) && ctx.Err() == nil; {
				err = own(ctx, t)
			}
			return err
		})
	}
	<-batch.all
	ready()
	for _, t := range tenures {
		if <-t.ended; t.err != nil {
			g.conn.Log().Warn(workEnded, "part", t.Part, "error", t.err)
		}
	}
}
