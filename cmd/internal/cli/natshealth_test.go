package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"poked/cmd/internal/clitest"
	"poked/events/eventstest"
)

// serveArgs returns the arguments of a serve with this data directory.
func serveArgs(t *testing.T, data string) []string {
	t.Helper()
	return []string{
		"serve", "--data", data, "--tokens", writeFile(t, "tokens", "alice-token @alice:example.org\n"),
		"--http", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--ops", "127.0.0.1:0", "--partitions", "2",
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http",
	}
}

// connect returns a plain connection to the NATS of a process.
func connect(t *testing.T, where map[string]any) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(fmt.Sprintf("nats://%s", where["nats"]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// TestG14FullDisk fills the disk of serve: it is not ready and shows the reason, waits for
// free space, and then ends, so that a supervisor restarts it. Nothing acknowledged is lost.
func TestG14FullDisk(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	disk := clitest.SmallDisk(t, 48<<20)
	gateway := startGateway(t)
	args := serveArgs(t, filepath.Join(disk, "data"))
	p, where := start(t, args...)
	setPusher(t, fmt.Sprintf("http://%s", where["http"]), gateway.url, "alice-pushkey")
	url := fmt.Sprintf("nats://%s", where["nats"])
	publishAll(t, url, "--historical", memberEvent("alice"), memberEvent("bob"))
	checkPoke(t, firstPoke(t, url, gateway.pokes))
	addr := fmt.Sprint(where["ops"])
	waitReadyz(t, addr, http.StatusOK, "ready")

	clitest.FillDisk(t, filepath.Join(disk, "ballast"))
	clitest.Pour(t, connect(t, where))
	waitReadyz(t, addr, http.StatusServiceUnavailable, "the disk has ")
	select {
	case <-p.ended:
		t.Fatalf("it ended with %d while the disk was full, where a restart does not help:\n%s", p.code, p.log())
	case <-time.After(15 * time.Second):
	}
	waitReadyz(t, addr, http.StatusServiceUnavailable, "the disk has ")
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(eventstest.Patience):
		t.Fatalf("it does not end though the disk has free space again:\n%s", p.log())
	}
	if p.code != ExitFailure || !strings.Contains(p.log(), "a restart mends it") {
		t.Errorf("exit code %d:\n%s", p.code, p.log())
	}

	clitest.FillDisk(t, filepath.Join(disk, "ballast")) // the restart happens before there is free space
	p = begin(t, args...)
	addr = opsAddr(t, p)
	waitReadyz(t, addr, http.StatusServiceUnavailable, "the disk is full")
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	where = p.waitReady()
	waitReadyz(t, addr, http.StatusOK, "ready")
	if pushers := getPushers(t, fmt.Sprintf("http://%s", where["http"])); !strings.Contains(pushers, "alice-pushkey") {
		t.Errorf("pushers: %s", pushers)
	}
	checkPoke(t, firstPoke(t, fmt.Sprintf("nats://%s", where["nats"]), gateway.pokes))
	p.terminate()
}

// TestG14LimitOfTheStore fills NATS up to its storage limit: the process is not ready until
// NATS stores less.
func TestG14LimitOfTheStore(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	disk := clitest.SmallDisk(t, 64<<20)
	p, where := start(t, serveArgs(t, filepath.Join(disk, "data"))...)
	conn := connect(t, where)
	clitest.Pour(t, conn)
	addr := fmt.Sprint(where["ops"])
	waitReadyz(t, addr, http.StatusServiceUnavailable, "no stream can be written")
	if _, err := conn.Request("$JS.API.STREAM.PURGE.ROOMS", nil, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	waitReadyz(t, addr, http.StatusOK, "ready")
	p.terminate()
}

// childServe is a serve in a separate process.
type childServe struct {
	*exec.Cmd

	logs eventstest.LogBuffer
}

func (c *childServe) log() string { return c.logs.String() }

// startChild starts the program in a separate process, and returns it with the attributes of
// its ready line.
func startChild(t *testing.T, args ...string) (*childServe, map[string]any) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &childServe{Cmd: exec.CommandContext(ctx, os.Args[0], append(args, "--log-format=json")...)}
	c.Env, c.Stderr = append(os.Environ(), clitest.AsProgram+"=1"), &c.logs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	var ready map[string]any
	eventstest.WaitFor(t, "serve to be ready", func() bool {
		for line := range strings.Lines(c.log()) {
			var fields map[string]any
			if json.Unmarshal([]byte(line), &fields) == nil && fields["msg"] == "poked is ready" {
				ready = fields
			}
		}
		return ready != nil
	})
	return c, ready
}

// TestG14NoFileDescriptors takes away the file descriptors that NATS needs to write: the
// process ends, and the next one works.
func TestG14NoFileDescriptors(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	args := serveArgs(t, filepath.Join(t.TempDir(), "data"))
	c, where := startChild(t, args...)
	url := fmt.Sprintf("nats://%s", where["nats"])
	publishAll(t, url, "--historical", memberEvent("alice"), memberEvent("bob"))
	conn := connect(t, where)
	limit := &unix.Rlimit{Cur: 3, Max: 3} // open files stay open
	if err := unix.Prlimit(c.Process.Pid, unix.RLIMIT_NOFILE, limit, nil); err != nil {
		t.Skipf("this test needs to limit a process's file descriptors, which is not permitted: %v", err)
	}
	clitest.Pour(t, conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait() // its exit code is checked below
	}()
	select {
	case <-ended:
	case <-time.After(eventstest.Patience):
		t.Fatalf("it does not end:\n%s", c.log())
	}
	if code := c.ProcessState.ExitCode(); code != ExitFailure || !strings.Contains(c.log(), "a restart mends it") {
		t.Errorf("exit code %d:\n%s", code, c.log())
	}
	p, where := start(t, args...)
	publishAll(t, fmt.Sprintf("nats://%s", where["nats"]), memberEvent("carol"))
	p.terminate()
}
