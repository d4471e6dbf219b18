// Package clitest runs command lines inside tests.
package clitest

import (
	"bytes"
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"poked/events/eventstest"
)

// AsProgram is an environment variable that makes a test binary run as the program it tests.
const AsProgram = "POKED_TEST_RUN_AS_POKED"

// Result is the exit code and the output of a command that ends by itself.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Runner runs a command line, as a program does.
type Runner func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int

// Main runs the tests of a package, or the test binary as the program that they test if one of
// them has started it as a child process. Such a child needs no program to be built.
func Main(m *testing.M, program func() int) {
	if os.Getenv(AsProgram) != "" {
		os.Exit(program()) //nolint:forbidigo,revive // here the test binary is the program
	}
	if err := os.Setenv(AsProgram, "1"); err != nil { // for the processes that tests start
		panic(err) //nolint:forbidigo // no test has started that could fail
	}
	eventstest.Cheap()
	m.Run()
}

// Run runs a command that ends by itself.
func Run(t *testing.T, run Runner, stdin string, args ...string) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
	return Result{Code: code, Stdout: stdout.String(), Stderr: stderr.String()}
}

// CheckHelp checks that every flag of a program has an environment variable, and that the
// help of its subcommand names both.
func CheckHelp(t *testing.T, parser *kong.Kong, run Runner) {
	t.Helper()
	for _, command := range slices.Concat(parser.Model.Children, parser.Model.Leaves(false)) {
		name := strings.TrimPrefix(command.Path(), parser.Model.Name+" ")
		help := Run(t, run, "", append(strings.Fields(name), "--help")...)
		if help.Code != 0 || help.Stderr != "" {
			t.Errorf("%s --help: exit code %d, standard error %q", name, help.Code, help.Stderr)
		}
		for _, flag := range command.Flags {
			checkFlag(t, name, flag, strings.Join(strings.Fields(help.Stdout), " "))
		}
	}
}

func checkFlag(t *testing.T, command string, flag *kong.Flag, help string) {
	t.Helper()
	named := strings.Contains(help, "--"+flag.Name) || strings.Contains(help, "--[no-]"+flag.Name)
	if flag.Help == "" || !named {
		t.Errorf("%s --%s has no help", command, flag.Name)
	}
	if len(flag.Envs) != 1 || !strings.HasPrefix(flag.Envs[0], "POKED_") || !strings.Contains(help, "$"+flag.Envs[0]) {
		t.Errorf("%s --%s has environment variables %v, want one POKED_… that its help names", command, flag.Name, flag.Envs)
	}
	if flag.HasDefault && !flag.IsBool() && !strings.Contains(help, "default ") {
		t.Errorf("the help of %s --%s lacks its default", command, flag.Name)
	}
}

// Want fails the test unless the command ended with the exit code, its output contains the
// two texts, and the output contains no SECRET.
func (r Result) Want(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if r.Code != code || !strings.Contains(r.Stdout, stdout) || !strings.Contains(r.Stderr, stderr) {
		t.Errorf("exit code %d, standard output %q, standard error %q; want %d, %q, %q", r.Code, r.Stdout, r.Stderr, code, stdout, stderr)
	}
	if strings.Contains(r.Stdout+r.Stderr, "SECRET") {
		t.Errorf("the output contains a secret: %q, %q", r.Stdout, r.Stderr)
	}
}
