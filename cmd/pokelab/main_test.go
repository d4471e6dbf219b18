package main

import (
	"strings"
	"testing"

	"poked/cmd/internal/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m, pokelab().Main) }

// Every flag has an environment variable, and the help of its subcommand names both.
func TestHelpIsComplete(t *testing.T) {
	parser, err := pokelab().Parser()
	if err != nil {
		t.Fatal(err)
	}
	clitest.CheckHelp(t, parser, pokelab().Run)
}

func TestHelpNamesEverySubcommand(t *testing.T) {
	help := clitest.Run(t, pokelab().Run, "", "--help")
	for _, command := range []string{"bench", "chaos", "live", "version"} {
		if !strings.Contains(help.Stdout, "\n  "+command+" ") {
			t.Errorf("pokelab --help does not list %s:\n%s", command, help.Stdout)
		}
	}
}

// Every command of pokelab that the README names exists.
func TestReadmeNamesWhatExists(t *testing.T) {
	parser, err := pokelab().Parser()
	if err != nil {
		t.Fatal(err)
	}
	clitest.ReadPage(t, "../../README.md").CheckCommands(t, parser)
}
