// Package labtest runs subcommands of pokelab inside tests. The processes that such a
// subcommand starts are the test binary itself, so that nothing has to be built.
package labtest

import (
	"fmt"
	"os"
	"testing"

	"poked/cmd/internal/child"
	"poked/cmd/internal/cli"
	"poked/cmd/internal/clitest"
	"poked/events/eventstest"
)

// program returns a part of pokelab: the subcommands of a package, and those that a child
// process needs.
func program[Commands any]() cli.Program {
	return cli.Program{Name: "pokelab", Commands: &struct {
		Commands Commands       `embed:""`
		Children child.Commands `embed:""`
	}{}}
}

// Run runs one of the Commands of a package.
func Run[Commands any](t *testing.T, args ...string) clitest.Result {
	t.Helper()
	return clitest.Run(t, program[Commands]().Run, "", args...)
}

// Main runs the tests of a package, or the test binary as the program if it was started as
// a child process.
func Main[Commands any](m *testing.M) {
	if os.Getenv(clitest.AsProgram) != "" {
		os.Exit(program[Commands]().Main()) //nolint:forbidigo,revive // here the test binary is the program
	}
	if err := os.Setenv(clitest.AsProgram, "1"); err != nil { // for the processes that tests start
		fmt.Fprintln(os.Stderr, "set up the tests:", err)
		os.Exit(1) //nolint:forbidigo,revive // no test has started that could fail
	}
	eventstest.Cheap()
	m.Run()
}
