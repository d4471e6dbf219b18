package cli

import (
	"cmp"
	"fmt"

	"github.com/alecthomas/kong"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/events/homeserver"
	"poked/registry"
)

// checkCmd is "poked check".
type checkCmd struct {
	Command []string `arg:"" passthrough:"" help:"A command of poked with its flags, such as serve --tokens FILE."`
}

// Help is shown by kong under the command's summary.
func (checkCmd) Help() string {
	return "Reads the flags and the environment as the command would, and the files of tokens, registration, credentials and certificates " +
		"that they name. It starts nothing, connects to nothing and changes nothing. Exit code 2 and one line if the command would not start."
}

// checked is a command whose configuration names files.
type checked interface {
	// check returns the first reason why the command would not start.
	check() error
}

// Run checks the command.
func (c *checkCmd) Run(std terminal.Streams) error {
	parser, err := Poked().narrow(c.Command).Parser(kong.Exit(func(int) {}), kong.Writers(std.Out, std.Err))
	if err != nil {
		return err
	}
	command, err := parser.Parse(c.Command)
	if err != nil {
		return badInputError{1, err}
	}
	if target, ok := command.Selected().Target.Addr().Interface().(checked); ok {
		if err := target.check(); err != nil {
			return badInputError{1, fmt.Errorf("%s: %w", command.Command(), err)}
		}
	}
	if _, err := fmt.Fprintf(std.Out, "the configuration of %s is valid\n", command.Command()); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

func checkAccess(access node.NATSFlags) error {
	if err := access.Credentials().Check(); err != nil {
		return fmt.Errorf("nats credentials: %w", err)
	}
	return nil
}

func checkRegistration(cfg homeserver.Config) error {
	_, err := homeserver.ReadRegistration(cfg.Registration)
	return err
}

func (c *serveCmd) check() error {
	cfg := c.Registry
	cfg.Database = cmp.Or(cfg.Database, "poked.db") // in the data directory
	var err error
	if c.BridgeHTTP != "" {
		err = checkRegistration(cfg.Homeserver)
	}
	return cmp.Or(checkAccess(c.Access), c.Roles.Ops.Check(), registry.Check(cfg), err)
}

func (c *registryRunCmd) check() error {
	return cmp.Or(checkAccess(c.Access), c.Roles.Ops.Check(), registry.Check(c.Registry))
}

func (c *dispatcherCmd) check() error {
	return cmp.Or(checkAccess(c.Access), c.Roles.Ops.Check(), c.Dispatcher.Validate())
}

func (c *bridgeRunCmd) check() error {
	return cmp.Or(checkAccess(c.Access), c.Ops.Check(), checkRegistration(c.Homeserver))
}
