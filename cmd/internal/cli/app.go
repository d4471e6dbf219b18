// Package cli is poked's command line: a file for each subcommand, and in program.go what
// every command line of this module has in common: flags and their environment, signals,
// exit codes, the error line. What a subcommand runs is made of package node's parts.
package cli

import "poked/cmd/internal/demo"

const description = "The push side of a Matrix homeserver: keeps pushers, decides who hears of which room event, pokes push gateways."

// commands is every subcommand with its flags.
type commands struct {
	Serve      serveCmd      `cmd:"" help:"Run everything in one process: NATS, the registry and a dispatcher."`
	Registry   registryCmd   `cmd:"" help:"Run the registry: the HTTP API for pushers and their database."`
	Dispatcher dispatcherCmd `cmd:"" help:"Run a dispatcher: from room events to pokes. Several share the work."`
	Bridge     bridgeCmd     `cmd:"" help:"Take room events from a homeserver that knows nothing of poked, as its application service."`
	Import     importCmd     `cmd:"" help:"Take over the pushers that a homeserver has."`
	Publish    publishCmd    `cmd:"" help:"Publish room events and receipts, one JSON object a line."`
	Pushrule   pushruleCmd   `cmd:"" name:"pushrule" help:"Say what push rules make of an event, and why: one JSON object a line."`
	Dead       deadCmd       `cmd:"" help:"List, show, retry and drop dead letters: pokes and messages that will not be tried again."`
	Pushers    pushersCmd    `cmd:"" help:"Say what dispatchers know of pushers, and have those that lag tried now."`
	Gateways   gatewaysCmd   `cmd:"" help:"Say how push gateways stand."`
	Demo       demo.Cmd      `cmd:"" help:"Show it all on recorded events, and check every poke."`
	Version    VersionCmd    `cmd:"" help:"Say which version this is."`
}

// Poked is the operator's program.
func Poked() Program { return Program{Name: "poked", Description: description, Commands: &commands{}} }
