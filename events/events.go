// Package events is the language that the registry, the dispatchers and a
// homeserver speak: typed ids, room events, pushers, notifications, and in one
// table every subject, stream and bucket. It is the only importer of nats.go,
// so the rest of poked thinks in these nouns and never in NATS.
//
//	homeserver ─Publisher─▶ ROOMS ──Follow──▶ match ──Batch─▶ NOTIFICATIONS ──Follow──▶ deliver
//	                          └─▶ ROOM_STATE ──RoomState──▶ ┘                              │
//	registry ─PutPushers─▶ PUSHERS ──WatchPushers──▶ match, deliver        BACKLOG, DEAD, REJECTED
//	deliver ─PutPause─▶ GATEWAYS ──WatchPauses──▶ deliver, at all dispatchers
//
// # What is unread
//
// NOTIFICATIONS holds what each user has been notified of and has not read, under
// notify.<part>.<user>.<room>.<thread>: the server counts it by subject and
// removes a room or a thread up to a sequence in one request, however much it is.
// Beside it stand how far the user has read (read.…, the newest for each thread)
// and which notification's event was redacted (redacted.…), in the order in which
// they became known, so whoever follows the partition removes them in that order.
//
// # Guarantees
//
// A stream is followed by partition, in stream order ([Conn.Follow]). How far a
// partition has been worked through is a [Position] in the POSITIONS bucket:
// everything up to Next is done except the sequences in Open. It is written as
// soon as something is done, at most once in [saveInterval], with the revision
// of the last write as its precondition. That makes the position a fence as
// well: who lost a partition can no longer move it. It replaces server-side
// acknowledgements, which cost a message each, are flushed to disk up to 100 ms
// late by a single server, and would let a restarted worker see new messages
// before the ones its predecessor left unfinished.
//
// # Ownership
//
// Dispatchers are workers that share the partitions ([Worker.Share]); a partition
// is owned with all of its stages. Two things are written down, and every worker
// sees both change by change:
//
//	WORKERS    worker.<id>   a heartbeat, which NATS forgets after 5 s without another
//	POSITIONS  part.<part>   whose the partition is, or nobody's; only ever compare-and-set
//
// From who is there follows whose each partition is to be: rendezvous hashing, but
// nobody gets more than one more than another. Everybody comes to the same answer,
// and little more moves than what has to. A worker takes what is to be its own and
// is nobody's, or belongs to one whose heartbeat the leader of WORKERS no longer
// has. Who owns what is to be another's ends its work on it, within a second, and
// says only then that it is nobody's. Who leaves says so in its heartbeat, so that
// the others wait for what it gives back and for nothing else.
//
// A heartbeat that is answered is a [Lease] on all that the worker owns, for a
// little less than NATS keeps it. Without it the worker keeps what it has in memory
// but begins nothing and writes nothing. As long as each heartbeat finds the one
// before it, nobody can have taken it for dead. If it does not, the worker writes
// its name again under each of its partitions, before it has its lease again: who
// was about to take one is then too late, and where it is too late itself it ends
// its work. So NATS that was away for an hour costs nothing, and two own the same
// only if clocks or a paused process deceive them; then the position is the fence,
// and costs a poke that is told twice.
//
// NATS's pinned consumers are not used: what they pin is who gets messages to
// acknowledge, which nobody does here, and they are not exclusive either.
//
// # What fails, and how
//
//   - NATS is away: reads and writes fail at once (nothing is buffered in the
//     client, so nothing surfaces later out of order), followers retry for ever
//     and resume after the last message they saw.
//   - A write's answer is lost: the caller is told the outcome is unknown and
//     repeats it. What stands in a bucket is looked up first, and replaced only if it
//     is what the writer knows, or a write of its own ([Register]). Reads and
//     redactions are idempotent; a repeated notification is first looked for in the
//     log ([Conn.HasNotification], [Conn.WithNotification]) and among what was read
//     since ([Conn.ReadsSince]).
//   - A server is there and takes nothing: the connection is given up after 5 s, and
//     made anew.
//   - A replica has not heard yet of what was acknowledged: what it does not tell of
//     counts as absent only if the leader of the stream says so too, or the read is
//     repeated.
//   - A process dies: its successors start at its positions, 5 to 6 s later.
//     Messages that the dead one may have handled without recording it arrive
//     with Replayed set.
//   - A stream or bucket is deleted: it is made anew by whoever may ([Conn.Keep]),
//     beyond the sequences that it had, and followers begin anew. What it held is
//     lost, and that is logged as an error.
//   - A message cannot be read, or stands on a subject that is not its own: it is
//     counted, logged and kept in DEAD with the reason and the subject on which it was
//     published, and the walk goes on. That holds for events which push gateways could
//     not read ([CheckJSON]). If it is state, the room has none there from then on. Of
//     a receipt that is read in part, the good part counts.
//   - A value of a bucket cannot be read: it is counted and logged once for each time
//     that it was written, and stops nothing but what it stands for. A position or a
//     pusher's backlog is kept in DEAD first, since nothing else knows what it said.
package events
