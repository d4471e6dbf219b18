package main

import (
	"encoding/json"
	"fmt"
)

// versionCmd is "poked version".
type versionCmd struct {
	JSON bool `name:"json" env:"POKED_VERSION_JSON" help:"Print a JSON object."`
}

// Run prints the version.
func (c *versionCmd) Run(std streams) error {
	v := readVersion()
	line := []byte(v.String())
	if c.JSON {
		var err error
		if line, err = json.Marshal(v); err != nil {
			return fmt.Errorf("encode version: %w", err)
		}
	}
	if _, err := fmt.Fprintf(std.out, "%s\n", line); err != nil {
		return fmt.Errorf("print version: %w", err)
	}
	return nil
}
