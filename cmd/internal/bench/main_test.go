package bench

import (
	"os"
	"testing"

	"poked/cmd/internal/child"
	"poked/cmd/internal/cli"
	"poked/cmd/internal/clitest"
)

// program is the part of pokelab that these tests need.
func program() cli.Program {
	return cli.Program{Name: "pokelab", Commands: &struct {
		Commands
		Children child.Commands `embed:""`
	}{}}
}

// lab runs a command. Its child processes are the test binary.
func lab(t *testing.T, args ...string) clitest.Result {
	t.Helper()
	return clitest.Run(t, program().Run, "", args...)
}

func TestMain(m *testing.M) {
	if os.Getenv(clitest.AsProgram) != "" {
		os.Exit(program().Main()) //nolint:forbidigo // here the test binary is the program
	}
	m.Run()
}
