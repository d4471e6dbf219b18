package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"poked/cmd/internal/cli"
	"poked/cmd/internal/clitest"
	"poked/events/eventstest"
)

// runChaos injects faults into a deployment of processes.
func runChaos(t *testing.T, args ...string) clitest.Result {
	t.Helper()
	return clitest.Run(t, pokelab().Run, "", append([]string{"chaos"}, args...)...)
}

// A whole deployment keeps every guarantee while all kinds of faults are injected.
func TestChaos(t *testing.T) {
	eventstest.Soak(t)
	got := runChaos(t, "--for=25s", "--seed=7", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s\n%s", got.Code, got.Stderr, got.Stdout)
	}
	var report struct {
		Faults     map[string]int `json:"faults"` // by "track: kind victim"
		Expected   int            `json:"owed"`
		Messages   int            `json:"messages"`
		Receipts   int            `json:"receipts"`
		Redactions int            `json:"redactions"`
	}
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	tracks := map[string]bool{}
	for kind := range report.Faults {
		track, _, _ := strings.Cut(kind, ":")
		tracks[track] = true
	}
	if got, want := slices.Sorted(maps.Keys(tracks)), []string{"dispatcher", "gateway", "link", "nats", "registry"}; !slices.Equal(got, want) {
		t.Errorf("faults of the tracks %v, want %v: %v", got, want, report.Faults)
	}
	if report.Expected == 0 || report.Messages == 0 || report.Receipts == 0 || report.Redactions == 0 {
		t.Errorf("nothing happened: %s", got.Stdout)
	}
}

// The same is true with two registries on PostgreSQL, which is killed and paused, too.
func TestChaosPostgres(t *testing.T) {
	eventstest.Soak(t)
	got := runChaos(t, "--postgres", "--for=20s", "--seed=8", "--only=registry,database,link,nats", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s\n%s", got.Code, got.Stderr, got.Stdout)
	}
}

// The same is true with the log in four streams.
func TestChaosStreams(t *testing.T) {
	eventstest.Soak(t)
	got := runChaos(t, "--streams=4", "--for=20s", "--seed=9", "--only=dispatcher,link,nats", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s\n%s", got.Code, got.Stderr, got.Stdout)
	}
}

// Invalid flags are a usage error.
func TestChaosUsage(t *testing.T) {
	for _, args := range [][]string{{"--partitions=1"}, {"--streams=0"}, {"--streams=9"}, {"--for=0s"}, {"--rate=0"}, {"--patience=0s"}, {"--only=moon"}, {"--only=database"}} {
		if got := runChaos(t, args...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}
