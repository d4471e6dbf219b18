package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"poked/events"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// program is a command line: subcommands, their flags and their environment.
type program struct {
	name        string
	description string
	commands    any // pointer to a struct of subcommands, as kong reads it
}

// main runs the program as a process: it returns the exit code after a clean stop,
// a failure, or SIGINT or SIGTERM.
func (p program) main() int {
	// A reader that goes away is an error of the write, not the end of a process
	// that has a directory to remove.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Once stopping, signals get their default meaning back: the second kills.
	context.AfterFunc(ctx, stop)
	return p.run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// run parses args (without the program's name), runs the subcommand until it is
// done or ctx ends, and returns the exit code.
func (p program) run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	std := streams{in: stdin, out: stdout, err: stderr}
	printed := false // kong wants to exit once it has printed a help text
	parser, err := p.parser(kong.Writers(stdout, stderr), kong.Exit(func(int) { printed = true }))
	if err != nil {
		return p.fail(std, exitFailure, err)
	}
	command, err := parser.Parse(args)
	if printed {
		return exitOK
	}
	if err != nil {
		return p.fail(std, exitUsage, fmt.Errorf("%w (%s --help lists what there is)", err, p.name))
	}
	command.BindTo(ctx, (*context.Context)(nil))
	command.Bind(std)
	if err := command.Run(); err != nil {
		if errors.As(err, new(badInputError)) {
			return p.fail(std, exitUsage, err)
		}
		return p.fail(std, exitFailure, err)
	}
	return exitOK
}

// parser returns the parser of the command line.
func (p program) parser(options ...kong.Option) (*kong.Kong, error) {
	parser, err := kong.New(p.commands, append(options,
		kong.Name(p.name),
		kong.Description(p.description),
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
func (p program) fail(std streams, code int, err error) int {
	line := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	// There is nobody left to tell if this cannot be written.
	_, _ = fmt.Fprintln(std.err, p.name+":", line)
	return code
}
