// Command poked is the push side of a Matrix homeserver: it keeps the pushers
// that clients register, decides which user hears of which room event, and
// pokes their push gateways.
//
// # Roles
//
// A role is a subcommand is a file of cmd/internal/cli. registry and dispatcher run
// one role each against a NATS of the operator's; serve runs both, and NATS, in one
// process by calling what those two call (see cmd/internal/node for the wiring). Each
// opens an operator's port if told to. registry restore builds a lost database
// anew. publish is a homeserver for the command line. bridge is the application
// service of a homeserver that knows nothing of poked, import takes over its
// pushers. dead, pushers and gateways are an operator's: they ask over NATS, from
// any machine that reaches it. pushrule says why somebody was notified or not. demo
// tells the whole story on recorded events, gateway prints pokes, version says what was built. What measures
// poked and what breaks it is another program, cmd/pokelab.
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
//	       ├─ dead ── the stream of dead letters
//	       ├─ pushers, gateways ── every dispatcher that works
//	       ├─ pushrule
//	       ├─ gateway ── a push gateway that prints
//	       └─ version
//
// # Contract with whoever starts it
//
// Every flag can be set by an environment variable named in its help; a flag
// on the command line wins. The exit code is 0 after a clean stop, 1 after a
// failure and 2 for a command line, or lines read by pushrule, that make no sense;
// with 1 and 2 the last line on standard error says why, in one sentence without
// secrets.
//
// SIGHUP ends no server: it rereads the token file at once, and checks that the
// credentials and certificates for NATS, which each connect reads, are valid.
//
// SIGINT and SIGTERM stop gracefully: take no more, finish what is out, flush,
// close connections, NATS last; longer than node allows is a failure. A second
// signal ends the process at once, which is safe at any moment: what was
// promised is on disk.
package main

import (
	"os"

	"poked/cmd/internal/cli"
)

func main() { os.Exit(cli.Poked().Main()) }
