package main

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// runAsPoked set in the environment tells a test binary to be the program that it tests.
const runAsPoked = "POKED_TEST_RUN_AS_POKED"

// result is what a command that ends by itself leaves behind.
type result struct {
	code           int
	stdout, stderr string
}

// runner runs a command line, as a program does.
type runner func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int

// runToItsEnd runs a command that ends by itself.
func runToItsEnd(t *testing.T, run runner, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
	return result{code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// checkHelp checks that every flag of a program has an environment variable, and that
// the help of its subcommand names both.
func checkHelp(t *testing.T, parser *kong.Kong, run runner) {
	t.Helper()
	for _, command := range slices.Concat(parser.Model.Children, parser.Model.Leaves(false)) {
		name := strings.TrimPrefix(command.Path(), parser.Model.Name+" ")
		help := runToItsEnd(t, run, "", append(strings.Fields(name), "--help")...)
		if help.code != 0 || help.stderr != "" {
			t.Errorf("%s --help: exit code %d, standard error %q", name, help.code, help.stderr)
		}
		for _, flag := range command.Flags {
			checkFlag(t, name, flag, strings.Join(strings.Fields(help.stdout), " "))
		}
	}
}

func checkFlag(t *testing.T, command string, flag *kong.Flag, help string) {
	t.Helper()
	if flag.Help == "" || !strings.Contains(help, "--"+flag.Name) {
		t.Errorf("%s --%s has no help", command, flag.Name)
	}
	if len(flag.Envs) != 1 || !strings.HasPrefix(flag.Envs[0], "POKED_") || !strings.Contains(help, "$"+flag.Envs[0]) {
		t.Errorf("%s --%s has environment variables %v, want one POKED_… that its help names", command, flag.Name, flag.Envs)
	}
	if flag.HasDefault && !flag.IsBool() && !strings.Contains(help, "default ") {
		t.Errorf("%s --%s does not say its default", command, flag.Name)
	}
}

func (r result) want(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.stdout, stdout) || !strings.Contains(r.stderr, stderr) {
		t.Errorf("exit code %d, standard output %q, standard error %q; want %d, %q, %q", r.code, r.stdout, r.stderr, code, stdout, stderr)
	}
	if strings.Contains(r.stdout+r.stderr, "SECRET") {
		t.Errorf("a secret is told: %q, %q", r.stdout, r.stderr)
	}
}
