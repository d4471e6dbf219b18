package cli

import (
	"encoding/json"
	"fmt"

	"github.com/alecthomas/kong"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
)

// VersionCmd is "poked version".
type VersionCmd struct {
	JSON bool `name:"json" env:"POKED_VERSION_JSON" help:"Print a JSON object."`
}

// versionFlag is "poked --version".
type versionFlag bool

// BeforeReset is called by kong.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	if _, err := fmt.Fprintln(app.Stdout, node.ReadVersion()); err != nil {
		return fmt.Errorf("print version: %w", err)
	}
	app.Exit(ExitOK)
	return nil
}

// Run prints the version.
func (c *VersionCmd) Run(std terminal.Streams) error {
	v := node.ReadVersion()
	line := []byte(v.String())
	if c.JSON {
		var err error
		if line, err = json.Marshal(v); err != nil {
			return fmt.Errorf("encode version: %w", err)
		}
	}
	if _, err := fmt.Fprintf(std.Out, "%s\n", line); err != nil {
		return fmt.Errorf("print version: %w", err)
	}
	return nil
}
