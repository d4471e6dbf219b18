package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"poked/events"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

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

// streams is what a subcommand may read from and write to.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run is the whole program: it parses args (without the program's name), runs
// the subcommand until it is done or ctx ends, and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	std := streams{in: stdin, out: stdout, err: stderr}
	printed := false // kong wants to exit once it has printed a help text
	parser, err := newParser(kong.Writers(stdout, stderr), kong.Exit(func(int) { printed = true }))
	if err != nil {
		return std.fail(exitFailure, err)
	}
	command, err := parser.Parse(args)
	if printed {
		return exitOK
	}
	if err != nil {
		return std.fail(exitUsage, fmt.Errorf("%w (poked --help lists what there is)", err))
	}
	command.BindTo(ctx, (*context.Context)(nil))
	command.Bind(std)
	if err := command.Run(); err != nil {
		if errors.As(err, new(badInputError)) {
			return std.fail(exitUsage, err)
		}
		return std.fail(exitFailure, err)
	}
	return exitOK
}

// newParser returns the parser of poked's command line.
func newParser(options ...kong.Option) (*kong.Kong, error) {
	parser, err := kong.New(&cli{}, append(options,
		kong.Name("poked"),
		kong.Description(description),
		kong.Vars{"max_partitions": strconv.Itoa(events.MaxPartitions)},
		kong.ValueFormatter(describe),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)...)
	if err != nil {
		return nil, fmt.Errorf("build command line: %w", err)
	}
	return parser, nil
}

// describe returns the help of a flag with its default and its environment
// variable.
func describe(value *kong.Value) string {
	var notes []string
	if value.HasDefault {
		notes = append(notes, "default "+value.Default)
	}
	for _, env := range value.Tag.Envs {
		notes = append(notes, "$"+env)
	}
	if notes == nil {
		return value.Help
	}
	return value.Help + " (" + strings.Join(notes, ", ") + ")"
}

// fail writes err in one line and returns code.
func (s streams) fail(code int, err error) int {
	line := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	// There is nobody left to tell if this cannot be written.
	_, _ = fmt.Fprintln(s.err, "poked:", line)
	return code
}
