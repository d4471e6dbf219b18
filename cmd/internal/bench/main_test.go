package bench

import (
	"testing"

	"poked/cmd/internal/cli"
	"poked/cmd/internal/clitest"
	"poked/cmd/internal/role"
)

// pokelab returns the part of it that has the benchmarks.
func pokelab() cli.Program {
	return cli.Program{Name: "pokelab", Commands: &struct {
		Commands Commands      `embed:""`
		Roles    role.Commands `embed:""`
	}{}}
}

func lab(t *testing.T, args ...string) clitest.Result {
	t.Helper()
	return clitest.Run(t, pokelab().Run, "", args...)
}

func TestMain(m *testing.M) { clitest.Main(m, pokelab().Main) }
