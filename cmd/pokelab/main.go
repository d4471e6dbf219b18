// Command pokelab benchmarks poked and injects faults into it. It is for developers of
// poked: operators do not need it, and the image does not contain it.
//
//	main
//	  ├─ bench ── the whole path beside a bare HTTP client: poked's own parts in this
//	  │           process, gateways in separate processes
//	  ├─ chaos ── registry, dispatchers and NATS in separate processes, faults, and a
//	  │           check that every guarantee held
//	  ├─ live ─── poked beside a live Dendrite with nginx and client libraries: a day of six
//	  │           users, and outages
//	  └─ version
//
// The separate processes are this program again: it contains the roles of poked, of the
// same build. Flags, environment variables and exit codes follow the rules of cmd/poked.
package main

import (
	"os"

	"poked/cmd/internal/bench"
	"poked/cmd/internal/chaos"
	"poked/cmd/internal/cli"
	"poked/cmd/internal/live"
	"poked/cmd/internal/role"
)

// commands is every subcommand with its flags.
type commands struct {
	Bench   bench.Commands `embed:""`
	Chaos   chaos.Commands `embed:""`
	Live    live.Commands  `embed:""`
	Roles   role.Commands  `embed:""`
	Version cli.VersionCmd `cmd:"" help:"Show the version."`
}

func pokelab() cli.Program {
	return cli.Program{
		Name:        "pokelab",
		Description: "Benchmarks, fault injection and a live homeserver for developers of poked. Operators do not need it.",
		Commands:    &commands{},
	}
}

func main() { os.Exit(pokelab().Main()) }
