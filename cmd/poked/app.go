package main

const description = "The push side of a Matrix homeserver: keeps pushers, decides who hears of which room event, pokes push gateways."

// cli is every subcommand with its flags.
type cli struct {
	Serve          serveCmd          `cmd:"" help:"Run everything in one process: NATS, the registry and a dispatcher."`
	Registry       registryCmd       `cmd:"" help:"Run the registry: the HTTP API for pushers and their database."`
	Dispatcher     dispatcherCmd     `cmd:"" help:"Run a dispatcher: from room events to pokes. Several share the work."`
	Bridge         bridgeCmd         `cmd:"" help:"Take room events from a homeserver that knows nothing of poked, as its application service."`
	Import         importCmd         `cmd:"" help:"Take over the pushers that a homeserver has."`
	Publish        publishCmd        `cmd:"" help:"Publish room events and receipts, one JSON object a line."`
	Pushrule       pushruleCmd       `cmd:"" name:"pushrule" help:"Say what push rules make of an event, and why: one JSON object a line."`
	Dead           deadCmd           `cmd:"" help:"List, show, retry and drop dead letters: pokes and messages that will not be tried again."`
	Pushers        pushersCmd        `cmd:"" help:"Say what dispatchers know of pushers, and have those that lag tried now."`
	Gateways       gatewaysCmd       `cmd:"" help:"Say how push gateways stand."`
	Demo           demoCmd           `cmd:"" help:"Show it all on recorded events, and check every poke."`
	Bench          benchCmd          `cmd:"" help:"Measure the whole path beside a bare HTTP client."`
	Chaos          chaosCmd          `cmd:"" help:"Break a whole deployment in every way, and check that it kept what it promises."`
	ChaosChild     chaosChildCmd     `cmd:"" hidden:"" help:"A process of a run of chaos."`
	ChaosNATS      chaosNATSCmd      `cmd:"" name:"chaos-nats" hidden:"" help:"A NATS server of a run of chaos."`
	BenchSink      benchSinkCmd      `cmd:"" hidden:"" help:"The gateway of a benchmark."`
	BenchGateways  benchGatewaysCmd  `cmd:"" hidden:"" help:"The gateways of a benchmark."`
	BenchDirectory benchDirectoryCmd `cmd:"" hidden:"" help:"The dispatcher of a benchmark of memory."`
	Version        versionCmd        `cmd:"" help:"Say which version this is."`
}

// Poked is the operator's program.
func Poked() program { return program{name: "poked", description: description, commands: &cli{}} }
