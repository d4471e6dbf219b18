package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poked/cmd/internal/clitest"
	"poked/cmd/internal/node"
	"poked/events/eventstest"
)

// process is the whole program, run inside the test as main does.
type process struct {
	t     *testing.T
	stop  context.CancelFunc
	ready chan map[string]any // attributes of the ready line
	ended chan struct{}       // closed when Run has returned and all it logged is read
	code  int                 // that Run returned
	logs  eventstest.LogBuffer
}

// start runs a long-running subcommand and returns when it is ready.
func start(t *testing.T, args ...string) (*process, map[string]any) {
	t.Helper()
	p := begin(t, args...)
	return p, p.waitReady()
}

// begin runs a long-running subcommand.
func begin(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := newProcess(t)
	p.stop = stop
	p.run(ctx, io.Discard, args...)
	t.Cleanup(func() { stop(); <-p.ended })
	return p
}

func newProcess(t *testing.T) *process {
	t.Helper()
	return &process{t: t, ready: make(chan map[string]any, 1), ended: make(chan struct{})}
}

// run runs a command line until it ends by itself or ctx does.
func (p *process) run(ctx context.Context, stdout io.Writer, args ...string) {
	logs, stderr := io.Pipe()
	go func() { // until the last line is read, which says why it ended
		defer close(p.ended)
		p.read(logs)
	}()
	go func() { // until ctx ends
		p.code = Poked().Run(ctx, append(args, "--log-format=json"), strings.NewReader(""), stdout, stderr)
		_ = stderr.Close()
	}()
}

// waitReady returns the attributes of the ready line.
func (p *process) waitReady() map[string]any {
	p.t.Helper()
	select {
	case where := <-p.ready:
		return where
	case <-p.ended:
		p.t.Fatalf("it ended with %d before it was ready:\n%s", p.code, p.log())
	case <-time.After(eventstest.Patience):
		p.t.Fatalf("it does not get ready:\n%s", p.log())
	}
	return nil
}

func (p *process) read(logs io.Reader) {
	for scanner := bufio.NewScanner(logs); scanner.Scan(); {
		_, _ = io.WriteString(&p.logs, scanner.Text()+"\n") // it never fails
		var line map[string]any
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line["msg"] == "poked is ready" {
			p.ready <- line
		}
	}
}

func (p *process) log() string { return p.logs.String() }

// terminate stops the process as a signal would, and fails the test if it does not end
// cleanly.
func (p *process) terminate() {
	p.t.Helper()
	p.stop()
	<-p.ended
	if p.code != ExitOK {
		p.t.Errorf("exit code %d after a stop:\n%s", p.code, p.log())
	}
}

func poked(t *testing.T, stdin string, args ...string) clitest.Result {
	t.Helper()
	return clitest.Run(t, Poked().Run, stdin, args...)
}

// writeFile writes a file into a temporary directory and returns its path.
func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startTestNATS starts an embedded NATS that listens and returns its URL.
func startTestNATS(t *testing.T) (*node.EmbeddedNATS, string) {
	t.Helper()
	var sync node.FsyncFlag
	if err := sync.UnmarshalText([]byte("1s")); err != nil {
		t.Fatal(err)
	}
	ns, err := node.StartNATS(node.NATSOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0", Sync: sync, Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Stop)
	return ns, "nats://" + ns.Where()
}

func TestMain(m *testing.M) {
	if os.Getenv(clitest.AsProgram) != "" {
		os.Exit(Poked().Main()) //nolint:forbidigo // here the test binary is the program
	}
	flag.Parse()
	if err := errors.Join(setUpRoles(), flag.Set("test.parallel", "12")); err != nil { // tests mostly wait
		fmt.Fprintln(os.Stderr, "set up the tests:", err)
		os.Exit(1) //nolint:forbidigo // no test has started that could fail
	}
	eventstest.Cheap()
	m.Run()
}

// setUpRoles sets the environment that nats.conf reads: the passwords of all roles.
func setUpRoles() (err error) {
	for _, role := range []string{"homeserver", "registry", "dispatcher", "bridge", "operator", "route"} {
		err = errors.Join(err, os.Setenv("POKED_NATS_"+strings.ToUpper(role)+"_PASSWORD", "p-"+role))
	}
	return err
}

// fromRoot returns the path of a file of the repository.
func fromRoot(elements ...string) string {
	return filepath.Join(append([]string{"..", "..", ".."}, elements...)...)
}
