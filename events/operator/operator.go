// Package operator is what operators ask of a running deployment and do to it, over NATS. A
// [Client] asks; [ServeDispatcher], [ServeRemovals] and [ServeProcess] answer, as NATS services
// ("micro"), so that the nats command finds them too. Dead letters need nobody to answer: the
// client reads and changes the stream DEAD itself.
//
//	Client ── $SRV.PING.poked-dispatcher ──▶ all dispatchers ──▶ which workers there are
//	       ├─ poked.dispatcher.<worker>.pushers {filter, after} ──▶ a page, and where the next begins
//	       ├─ poked.process ──▶ all processes ──▶ what each one is and does
//	       ├─ poked.registry.removed {user, limit, before} ──▶ any registry ──▶ a page
//	       └─ DEAD ──▶ letters; RetryDead publishes what one holds, and then deletes it
//
// # What holds
//
//   - A service answers one request at a time, on a connection of its own: operators cost a
//     process one processor at most, and never delay its work. Once a Serve function has
//     returned, nothing that it was given runs or will run.
//   - Lists are read in pages, so no message and no buffer grows with the length of a list.
//   - A dead letter is deleted only after what it holds is stored again. A retry that is
//     interrupted loses nothing, and may poke twice.
//   - A list of dead letters ends with those that were stored when it began.
//
// # What fails, and how
//
//   - No dispatcher or registry runs: [ErrNoDispatcher] after two seconds, [ErrNoRegistry] at once.
//   - A dispatcher does not answer: lists, retries and skips end with the error after ten
//     seconds, and what came before it counts; [Client.Dispatchers] returns the others' reports
//     with it.
//   - NATS does not permit a service: the Serve function reports the reason and tries again
//     every ten seconds.
//   - NATS is away: questions fail. Services answer again once it is back.
//   - A dead letter is gone, or cannot be retried: [ErrNoDeadLetter], or [ErrNotRetriable] with
//     the reason, and the letter stays.
package operator
