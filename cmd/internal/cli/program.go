package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/willabides/kongplete"

	"poked/cmd/internal/terminal"
	"poked/events/stream"
	"poked/registry/database"
)

// Exit codes.
const (
	ExitOK      = 0
	ExitFailure = 1
	ExitUsage   = 2
)

// Program is a command line: subcommands, their flags and their environment.
type Program struct {
	Name        string
	Description string
	Commands    any          // pointer to a struct of subcommands, as kong reads it
	Groups      []kong.Group // of subcommands in the help; none if there are few
}

// Main runs the program with the arguments and streams of the process, stops it on SIGINT
// and SIGTERM, and returns the exit code.
func (p Program) Main() int {
	// A closed pipe is an error of the write. It must not end a process that still has
	// to clean up.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// From then on signals have their default effect: a second one kills the process.
	context.AfterFunc(ctx, stop)
	return p.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// Run parses args (without the program's name), runs the subcommand until it is
// done or ctx ends, and returns the exit code.
func (p Program) Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	std := terminal.Streams{In: stdin, Out: stdout, Err: stderr}
	printed := false // kong calls Exit after it has printed a help text
	parser, err := p.narrow(args).Parser(kong.Writers(stdout, stderr), kong.Exit(func(int) { printed = true }))
	if err != nil {
		return p.fail(std, ExitFailure, err)
	}
	// bash and zsh ask for completions with "complete -C poked poked" (COMP_LINE).
	kongplete.Complete(parser)
	if printed {
		return ExitOK
	}
	command, err := parser.Parse(args)
	if printed {
		return ExitOK
	}
	if err != nil {
		return p.fail(std, ExitUsage, fmt.Errorf("%w (see %s --help)", err, p.Name))
	}
	command.BindTo(ctx, (*context.Context)(nil))
	command.Bind(std)
	if err := command.Run(); err != nil {
		if readerHasGone(err, stdout) {
			return ExitOK
		}
		if errors.As(err, new(badInputError)) {
			return p.fail(std, ExitUsage, err)
		}
		return p.fail(std, ExitFailure, err)
	}
	return ExitOK
}

// readerHasGone reports whether an error is that nobody reads standard output any more, as
// in "poked pushers | head", which is no failure. A broken connection is one.
func readerHasGone(err error, stdout io.Writer) bool {
	var failed *fs.PathError
	file, isFile := stdout.(*os.File)
	return isFile && errors.Is(err, syscall.EPIPE) && errors.As(err, &failed) && failed.Path == file.Name()
}

// narrow returns the program with only the subcommand that args begin with. To read the flags of
// all others takes longer than most commands run. Completions and the manual page need them all,
// and so does the message that there is no such subcommand.
func (p Program) narrow(args []string) Program {
	if _, completes := os.LookupEnv("COMP_LINE"); completes || len(args) == 0 || slices.Contains(args, "--man") {
		return p
	}
	if commands, found := only(args[0], reflect.TypeOf(p.Commands).Elem()); found {
		p.Commands = reflect.New(commands).Interface()
	}
	return p
}

// only returns a type of commands with one subcommand, and whether it has that.
func only(name string, commands reflect.Type) (part reflect.Type, found bool) {
	var fields []reflect.StructField
	for i := range commands.NumField() {
		field := commands.Field(i)
		_, isCommand := field.Tag.Lookup("cmd")
		_, embeds := field.Tag.Lookup("embed")
		switch {
		case isCommand && cmp.Or(field.Tag.Get("name"), strings.ToLower(field.Name)) != name:
			continue
		case isCommand:
			found = true
		case embeds:
			var inside bool
			field.Type, inside = only(name, field.Type)
			found = found || inside
		}
		fields = append(fields, field)
	}
	return reflect.StructOf(fields), found
}

// Parser returns the parser of the command line.
func (p Program) Parser(options ...kong.Option) (*kong.Kong, error) {
	parser, err := kong.New(p.Commands, append(options,
		kong.Name(p.Name),
		kong.Description(p.Description),
		kong.ExplicitGroups(p.Groups),
		kong.Vars{"max_partitions": strconv.Itoa(stream.MaxPartitions), "max_streams": strconv.Itoa(stream.MaxStreams)},
		kong.ValueFormatter(describe),
		kong.NamedMapper("database", kong.MapperFunc(decodeDatabase)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)...)
	if err != nil {
		return nil, fmt.Errorf("build command line: %w", err)
	}
	return parser, nil
}

// decodeDatabase reads the address of a database: a URL, or the path of a file.
func decodeDatabase(ctx *kong.DecodeContext, target reflect.Value) error {
	var address string
	if err := ctx.Scan.PopValueInto("database", &address); err != nil {
		return err
	}
	if address != "" && !database.IsServer(address) {
		address = kong.ExpandPath(address)
	}
	target.SetString(address)
	return nil
}

// describe returns the help of a flag with its default and environment variable.
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
func (p Program) fail(std terminal.Streams, code int, err error) int {
	line := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	// If this write fails, too, the exit code must do.
	_, _ = fmt.Fprintln(std.Err, p.Name+":", line)
	return code
}
