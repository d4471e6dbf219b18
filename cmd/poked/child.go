package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// chaosChildCmd runs another subcommand and ends when its standard input does,
// so that a process started for a run does not outlive it.
type chaosChildCmd struct {
	Args []string `arg:"" passthrough:"" help:"The subcommand."`
}

// Run runs the subcommand until ctx or standard input ends.
func (c chaosChildCmd) Run(ctx context.Context, std streams) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, std.in)
		stop()
	}()
	args := c.Args
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if code := Poked().run(ctx, args, strings.NewReader(""), std.out, std.err); code != exitOK {
		return fmt.Errorf("exit code %d", code)
	}
	return nil
}

// childRestart is how soon a process that ended by itself is started again: it
// has a supervisor, as with "restart: unless-stopped".
const childRestart = 300 * time.Millisecond

// childPatience is how long a process may take to stop when it is asked to.
const childPatience = 30 * time.Second

// child is a process of this program that can be killed, paused, stopped and
// started again. One that ends by itself is started again and counted.
type child struct {
	name string
	args []string
	log  string // file that its log lines are appended to

	mu     sync.Mutex
	wanted bool // it is to run
	cmd    *exec.Cmd
	stdin  io.Closer
	ended  chan struct{} // closed when the process has
	alone  int           // how often it ended by itself
}

// start starts the process, unless it runs.
func (c *child) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = true
	if c.cmd != nil {
		return nil
	}
	return c.launch()
}

// launch starts the process. The mutex is held.
func (c *child) launch() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	// Its end is stop's: a context would leave it unwaited for.
	cmd := exec.Command(self, append([]string{"chaos-child", "--"}, c.args...)...) //nolint:gosec,noctx // it is this program
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	c.cmd, c.stdin, c.ended = cmd, stdin, make(chan struct{})
	go c.await(cmd, c.ended) // ends with the process
	return nil
}

// await waits for the end of a process, and starts it again if nobody asked for
// its end.
func (c *child) await(cmd *exec.Cmd, ended chan struct{}) {
	_ = cmd.Wait() // how it ended stands in its log
	c.mu.Lock()
	c.cmd = nil
	_ = c.stdin.Close() // nobody reads from it any more
	again := c.wanted
	if again {
		c.alone++
	}
	c.mu.Unlock()
	close(ended)
	if !again {
		return
	}
	<-time.After(childRestart)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted && c.cmd == nil {
		_ = c.launch() // it ran before, so it can be started
	}
}

// signal sends a signal to the process, if it runs.
func (c *child) signal(s os.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil {
		_ = c.cmd.Process.Signal(s) // it may have ended just now
	}
}

// pause has the process stand still until resume.
func (c *child) pause()  { c.signal(syscall.SIGSTOP) }
func (c *child) resume() { c.signal(syscall.SIGCONT) }

// kill ends the process at once, and returns when it has ended.
func (c *child) kill() { c.end(syscall.SIGKILL) }

// stop asks the process to end, and returns when it has ended.
func (c *child) stop() error {
	if !c.end(syscall.SIGTERM) {
		return fmt.Errorf("%s did not stop within %s and was killed", c.name, childPatience)
	}
	return nil
}

// end has the process end for good, and says whether the signal was enough.
func (c *child) end(s os.Signal) bool {
	c.mu.Lock()
	c.wanted = false
	running, ended := c.cmd != nil, c.ended
	c.mu.Unlock()
	if !running {
		return true
	}
	c.signal(s)
	select {
	case <-ended:
		return true
	case <-time.After(childPatience):
		c.signal(syscall.SIGKILL)
		<-ended
		return false
	}
}

// pid returns the id of the process, or 0 if it does not run.
func (c *child) pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return 0
	}
	return c.cmd.Process.Pid
}

// endedAlone returns how often the process ended by itself.
func (c *child) endedAlone() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.alone
}

// stopAll stops processes, one after the other.
func stopAll(children []*child) error {
	var errs []error
	for _, c := range children {
		c.resume()
		errs = append(errs, c.stop())
	}
	return errors.Join(errs...)
}

// cpuOf returns the processor time that a process has used, in steps of 10 ms; 0
// if that cannot be known.
func cpuOf(pid int) time.Duration {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0
	}
	stat, err := process.Stat()
	if err != nil {
		return 0
	}
	return time.Duration(stat.CPUTime() * float64(time.Second))
}

// chaosHost is where everything of a run listens.
const chaosHost = "127.0.0.1"
