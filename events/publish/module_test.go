package publish_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Another module imports the publisher as the README describes while the repository has
// no public address. The import brings only the NATS client: no database, no NATS
// server and no dispatcher.
func TestPublisherInAModuleOfItsOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles another module")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	program := `package main

import (
	"context"
	"log/slog"

	"poked/events/publish"
	"poked/events/stream"
)

func main() {
	conn, err := stream.Connect(context.Background(), stream.Config{URL: "nats://127.0.0.1:4222", Name: "homeserver", Log: slog.Default()})
	if err != nil {
		panic(err)
	}
	if err := publish.NewPublisher(conn).Event(context.Background(), []byte("{}"), publish.Historical()); err != nil {
		panic(err)
	}
}
`
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	run("mod", "init", "example.org/homeserver")
	run("mod", "edit", "-replace=poked="+root)
	run("get", "poked/events/publish")
	run("build", "-o", os.DevNull, ".")

	for along := range strings.Lines(run("list", "-deps", "poked/events/publish")) {
		for _, heavy := range []string{"nats-server", "sqlite", "prometheus", "fasthttp", "kong", "poked/dispatcher", "poked/registry", "poked/cmd"} {
			if strings.Contains(along, heavy) {
				t.Errorf("the publisher imports %s", strings.TrimSpace(along))
			}
		}
	}
}
