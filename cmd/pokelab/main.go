// Command pokelab measures poked and breaks it. It is for whoever works on poked: an
// operator needs none of it, and it is in no image.
//
//	main
//	  ├─ bench ── the whole path beside a bare HTTP client: the same parts as poked's,
//	  │           and gateways in processes of their own
//	  ├─ chaos ── registry, dispatchers and NATS as processes of their own, faults, and
//	  │           the proof that all promises were kept
//	  └─ version
//
// What these two start is this program again: the roles of poked are in it, of the same
// build. Flags, environment and exit codes are as poked's, which its own page describes.
package main

import (
	"os"

	"poked/cmd/internal/bench"
	"poked/cmd/internal/chaos"
	"poked/cmd/internal/child"
	"poked/cmd/internal/cli"
)

// commands is every subcommand with its flags.
type commands struct {
	Bench    bench.Commands `embed:""`
	Chaos    chaos.Commands `embed:""`
	Children child.Commands `embed:""`
	Version  cli.VersionCmd `cmd:"" help:"Say which version this is."`
}

func pokelab() cli.Program {
	return cli.Program{
		Name:        "pokelab",
		Description: "Measures poked, and breaks it: for whoever works on it. Operators need poked alone.",
		Commands:    &commands{},
	}
}

func main() { os.Exit(pokelab().Main()) }
