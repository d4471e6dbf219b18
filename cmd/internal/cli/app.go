// Package cli is poked's command line, one file for each subcommand. program.go holds what
// all command lines of this module share: flags and their environment variables, signals,
// exit codes and the error line. Subcommands that run a role assemble it from package node.
package cli

import (
	"github.com/alecthomas/kong"
	mangokong "github.com/alecthomas/mango-kong"

	"poked/cmd/internal/demo"
)

const description = "The push side of a Matrix homeserver: stores pushers, decides by push rules who is notified, and pokes push gateways."

// commands is every subcommand with its flags, in the order and the groups of the help.
type commands struct {
	ShowVersion versionFlag       `name:"version" help:"Show the version and exit."`
	ShowMan     mangokong.ManFlag `name:"man" help:"Show the manual page, for man -l -, and exit." hidden:""`

	Serve      serveCmd      `cmd:"" group:"run" help:"Run everything in one process: NATS, the registry and a dispatcher."`
	Registry   registryCmd   `cmd:"" group:"run" help:"Run the registry: the HTTP API for pushers and their database."`
	Dispatcher dispatcherCmd `cmd:"" group:"run" help:"Run a dispatcher, which turns room events into pokes. Several share the work."`

	Check checkCmd `cmd:"" group:"run" help:"Check the configuration of a command without starting it."`

	Bridge  bridgeCmd  `cmd:"" group:"connect" help:"Receive room events from any homeserver, as its application service."`
	Import  importCmd  `cmd:"" group:"connect" help:"Import pushers from a homeserver's database."`
	Publish publishCmd `cmd:"" group:"connect" help:"Publish room events and receipts, one JSON object per line."`

	Trace    traceCmd    `cmd:"" group:"operate" help:"Tell why a phone rang for a message, or why it did not."`
	Room     roomCmd     `cmd:"" group:"operate" help:"Show what poked knows of a room."`
	Rules    rulesCmd    `cmd:"" group:"operate" help:"Show a user's push rules as they are in effect."`
	Pushers  pushersCmd  `cmd:"" group:"operate" help:"Show the state of pushers; retry lagging ones, or skip what they are stuck at."`
	Gateways gatewaysCmd `cmd:"" group:"operate" help:"Show the state of each push gateway."`
	Dead     deadCmd     `cmd:"" group:"operate" help:"List, show, retry and drop dead letters: pokes and messages that poked has given up on."`

	Demo     demo.Cmd    `cmd:"" group:"look" help:"Play recorded events through the whole program and check every poke."`
	Gateway  gatewayCmd  `cmd:"" group:"look" help:"Run a push gateway that prints pokes, for trying things out."`
	Pushrule pushruleCmd `cmd:"" group:"look" name:"pushrule" help:"Evaluate push rules against events, and explain the result."`
	Version  VersionCmd  `cmd:"" group:"look" help:"Show the version."`
}

// groups returns the titles of the groups of subcommands.
func groups() []kong.Group {
	return []kong.Group{
		{Key: "run", Title: "Run poked:"},
		{Key: "connect", Title: "Connect a homeserver:"},
		{Key: "operate", Title: "Operate, from any machine that reaches NATS:"},
		{Key: "look", Title: "Try it out:"},
	}
}

// Poked returns the operator's program.
func Poked() Program {
	return Program{Name: "poked", Description: description, Commands: &commands{}, Groups: groups()}
}
