// Package cli is poked's command line: a file for each subcommand, and in program.go what
// every command line of this module has in common: flags and their environment, signals,
// exit codes, the error line. What a subcommand runs is made of package node's parts.
package cli

import (
	"github.com/alecthomas/kong"

	"poked/cmd/internal/demo"
)

const description = "The push side of a Matrix homeserver: keeps pushers, decides who hears of which room event, pokes push gateways."

// commands is every subcommand with its flags, by what somebody wants who looks for it.
type commands struct {
	Serve      serveCmd      `cmd:"" group:"run" help:"Run everything in one process: NATS, the registry and a dispatcher."`
	Registry   registryCmd   `cmd:"" group:"run" help:"Run the registry: the HTTP API for pushers and their database."`
	Dispatcher dispatcherCmd `cmd:"" group:"run" help:"Run a dispatcher: from room events to pokes. Several share the work."`

	Bridge  bridgeCmd  `cmd:"" group:"connect" help:"Take room events from a homeserver that knows nothing of poked, as its application service."`
	Import  importCmd  `cmd:"" group:"connect" help:"Take over the pushers that a homeserver has."`
	Publish publishCmd `cmd:"" group:"connect" help:"Publish room events and receipts, one JSON object a line."`

	Pushers  pushersCmd  `cmd:"" group:"operate" help:"Say what dispatchers know of pushers, and have those that lag tried now."`
	Gateways gatewaysCmd `cmd:"" group:"operate" help:"Say how push gateways stand."`
	Dead     deadCmd     `cmd:"" group:"operate" help:"List, show, retry and drop dead letters: pokes and messages that will not be tried again."`

	Demo     demo.Cmd    `cmd:"" group:"look" help:"Show it all on recorded events, and check every poke."`
	Gateway  gatewayCmd  `cmd:"" group:"look" help:"Take pokes as a push gateway that prints them, for trying things out. It forwards nothing to a phone."`
	Pushrule pushruleCmd `cmd:"" group:"look" name:"pushrule" help:"Say what push rules make of an event, and why: one JSON object a line."`
	Version  VersionCmd  `cmd:"" group:"look" help:"Say which version this is."`
}

// groups are the titles of the groups of subcommands.
func groups() []kong.Group {
	return []kong.Group{
		{Key: "run", Title: "Run poked:"},
		{Key: "connect", Title: "Connect a homeserver:"},
		{Key: "operate", Title: "Operate, from any machine that reaches NATS:"},
		{Key: "look", Title: "See what it does:"},
	}
}

// Poked is the operator's program.
func Poked() Program {
	return Program{Name: "poked", Description: description, Commands: &commands{}, Groups: groups()}
}
