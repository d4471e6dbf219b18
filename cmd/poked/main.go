// Command poked is the push side of a Matrix homeserver: it stores the pushers that
// clients register, decides by push rules who is notified of a room event, and pokes
// their push gateways.
//
// # Roles
//
// Each subcommand is a file of cmd/internal/cli:
//
//   - serve runs NATS, the registry, a dispatcher and, with --bridge-http, the bridge in one process.
//   - registry, dispatcher and bridge run one role each, against an external NATS.
//     Like serve they open an operator's port with --ops.
//   - registry restore rebuilds a lost database from NATS; import reads the pushers of
//     an existing homeserver; publish publishes files of events.
//   - dead, pushers and gateways are for operators. They work over NATS, from any
//     machine that reaches it.
//   - pushrule explains why a user was notified or not, demo plays recorded events,
//     gateway prints pokes, version prints the version.
//
// Benchmarks and fault injection are another program, cmd/pokelab.
//
//	main
//	  └─ cli.Program ── signals, flags and environment, the error line, exit code
//	       ├─ serve ──────┐
//	       ├─ registry ───┼── node.Stack: NATS, connection, actors, ready line, stop
//	       ├─ dispatcher ─┤
//	       ├─ bridge ─────┤
//	       ├─ demo ───────┘
//	       ├─ publish
//	       ├─ import ── the registry's database
//	       ├─ dead ── the stream DEAD
//	       ├─ pushers, gateways ── ask all running dispatchers
//	       ├─ pushrule
//	       ├─ gateway ── a push gateway that prints
//	       └─ version
//
// # Environment, exit codes and signals
//
// Every flag can be set by the environment variable that its help names; a flag on the
// command line wins. The exit code is 0 after a clean stop, 1 after a failure, and 2 for
// an invalid command line or invalid input to pushrule. With 1 and 2 the last line on
// standard error is the reason, in one sentence without secrets.
//
// On SIGHUP a server rereads the token file at once and checks that the credentials and
// certificates for NATS are valid; these are read at each connect.
//
// SIGINT and SIGTERM stop gracefully: the process accepts no new work, waits for requests
// in flight, flushes, and closes its connections, NATS last. To exceed the time limit of
// package node is a failure. A second signal ends the process at once, which is safe at
// any moment: everything acknowledged is on disk.
package main

import (
	"os"

	"poked/cmd/internal/cli"
)

func main() { os.Exit(cli.Poked().Main()) }
