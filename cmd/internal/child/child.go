// Package child starts processes for a run of pokelab: poked's roles, or others of the
// same program. A child can be killed, paused, stopped and started again; one that ends by
// itself is started again and counted. None outlives the run: it holds the other end of
// the child's standard input.
package child

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

	"poked/cmd/internal/cli"
	"poked/cmd/internal/terminal"
)

// Commands is what a program needs that starts processes of poked's.
type Commands struct {
	Poked pokedCmd `cmd:"" hidden:"" help:"A process of poked's, as a run needs it."`
}

// pokedCmd runs a subcommand of poked, of the same build, and ends when its standard
// input does.
type pokedCmd struct {
	Args []string `arg:"" passthrough:"" help:"The subcommand."`
}

// Run runs the subcommand until ctx or standard input ends.
func (c pokedCmd) Run(ctx context.Context, std terminal.Streams) error {
	ctx, stop := WithParent(ctx, std.In)
	defer stop()
	args := c.Args
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if code := cli.Poked().Run(ctx, args, strings.NewReader(""), std.Out, std.Err); code != cli.ExitOK {
		return fmt.Errorf("exit code %d", code)
	}
	return nil
}

// Poked returns the arguments of a [Process] that runs a subcommand of poked.
func Poked(args ...string) []string { return append([]string{"poked", "--"}, args...) }

// WithParent returns a context that ends when standard input does, so that a process
// started for a run does not outlive it.
func WithParent(ctx context.Context, stdin io.Reader) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, stdin)
		stop()
	}()
	return ctx, stop
}

// restartAfter is how soon a process that ended by itself is started again: it
// has a supervisor, as with "restart: unless-stopped".
const restartAfter = 300 * time.Millisecond

// stopPatience is how long a process may take to stop when it is asked to.
const stopPatience = 30 * time.Second

// Process is a process of this program that can be killed, paused, stopped and
// started again. One that ends by itself is started again and counted.
type Process struct {
	Name string   // for errors
	Args []string // of this program
	Log  string   // file that its log lines are appended to

	mu     sync.Mutex
	wanted bool // it is to run
	cmd    *exec.Cmd
	stdin  io.Closer
	ended  chan struct{} // closed when the process has
	alone  int           // how often it ended by itself
}

// Start starts the process, unless it runs.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = true
	if p.cmd != nil {
		return nil
	}
	return p.launch()
}

// launch starts the process. The mutex is held.
func (p *Process) launch() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	// Its end is stop's: a context would leave it unwaited for.
	cmd := exec.Command(self, p.Args...) //nolint:gosec,noctx // it is this program
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.cmd, p.stdin, p.ended = cmd, stdin, make(chan struct{})
	go p.await(cmd, p.ended) // ends with the process
	return nil
}

// await waits for the end of a process, and starts it again if nobody asked for
// its end.
func (p *Process) await(cmd *exec.Cmd, ended chan struct{}) {
	_ = cmd.Wait() // how it ended stands in its log
	p.mu.Lock()
	p.cmd = nil
	_ = p.stdin.Close() // nobody reads from it any more
	again := p.wanted
	if again {
		p.alone++
	}
	p.mu.Unlock()
	close(ended)
	if !again {
		return
	}
	<-time.After(restartAfter)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted && p.cmd == nil {
		_ = p.launch() // it ran before, so it can be started
	}
}

// signal sends a signal to the process, if it runs.
func (p *Process) signal(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // it may have ended just now
	}
}

// Pause stops the process where it stands, until Resume.
func (p *Process) Pause() { p.signal(syscall.SIGSTOP) }

// Resume lets the process go on.
func (p *Process) Resume() { p.signal(syscall.SIGCONT) }

// Kill ends the process at once, and returns when it has ended.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

// Stop asks the process to end, and returns when it has ended.
func (p *Process) Stop() error {
	if !p.end(syscall.SIGTERM) {
		return fmt.Errorf("%s did not stop within %s and was killed", p.Name, stopPatience)
	}
	return nil
}

// end has the process end for good, and says whether the signal was enough.
func (p *Process) end(s os.Signal) bool {
	p.mu.Lock()
	p.wanted = false
	running, ended := p.cmd != nil, p.ended
	p.mu.Unlock()
	if !running {
		return true
	}
	p.signal(s)
	select {
	case <-ended:
		return true
	case <-time.After(stopPatience):
		p.signal(syscall.SIGKILL)
		<-ended
		return false
	}
}

// PID returns the id of the process, or 0 if it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// EndedAlone returns how often the process ended by itself.
func (p *Process) EndedAlone() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alone
}

// StopAll stops processes, one after the other.
func StopAll(children []*Process) error {
	var errs []error
	for _, c := range children {
		c.Resume()
		errs = append(errs, c.Stop())
	}
	return errors.Join(errs...)
}

// CPUOf returns the processor time that a process has used, in steps of 10 ms; 0
// if that cannot be known.
func CPUOf(pid int) time.Duration {
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

// Host is where everything of a run listens.
const Host = "127.0.0.1"
