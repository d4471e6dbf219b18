// Package child starts processes for a run of pokelab: roles of poked, or other subcommands
// of the same program. A child can be killed, paused, stopped and restarted. One that ends
// by itself is restarted and counted. No child outlives the run: the run holds the other
// end of its standard input, and a child stops when that is closed.
package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// Poked returns the arguments of a [Process] that runs a subcommand of poked: those of a command
// of package role.
func Poked(args ...string) []string { return append([]string{"poked", "--"}, args...) }

// WithParent returns a context that ends with standard input, so that a process started
// for a run does not outlive it.
func WithParent(ctx context.Context, stdin io.Reader) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, stdin)
		stop()
	}()
	return ctx, stop
}

// restartAfter is the pause before a process that ended by itself is restarted, as by a
// supervisor or "restart: unless-stopped".
const restartAfter = 300 * time.Millisecond

// stopPatience is how long a process may take to stop before it is killed.
const stopPatience = 30 * time.Second

// Process is a process of this program, or of another one, that can be killed, paused,
// stopped and restarted. If it ends by itself it is restarted and counted.
type Process struct {
	Name    string   // for errors
	Program string   // path of the program; "" is this one. Another one may outlive a run that is killed
	Dir     string   // working directory; "" is the run's own
	Args    []string // of the program
	Log     string   // file that its log lines are appended to

	mu     sync.Mutex
	wanted bool // it should run
	cmd    *exec.Cmd
	stdin  io.Closer
	ended  chan struct{} // closed when the process has
	alone  int           // number of times it ended by itself
}

// Start starts the process, unless it is running.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = true
	if p.cmd != nil {
		return nil
	}
	return p.launch()
}

// launch starts the process. The caller holds the mutex.
func (p *Process) launch() error {
	program, err := p.Program, error(nil)
	if program == "" {
		program, err = os.Executable()
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	defer func() { _ = log.Close() }() // the process has its own descriptor
	// stop ends and waits for it; a context could not wait.
	cmd := exec.Command(program, p.Args...) //nolint:gosec,noctx // the run chose it
	cmd.Dir = p.Dir
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

// await waits for the end of a process, and restarts it if it was supposed to run.
func (p *Process) await(cmd *exec.Cmd, ended chan struct{}) {
	_ = cmd.Wait() // the reason is in its log
	p.mu.Lock()
	p.cmd = nil
	_ = p.stdin.Close() // its reader has ended
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
		_ = p.launch() // it was started before, so this works
	}
}

// signal sends a signal to the process, if it is running.
func (p *Process) signal(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // it may just have ended
	}
}

// Pause suspends the process until Resume.
func (p *Process) Pause() { p.signal(syscall.SIGSTOP) }

// Resume continues a paused process.
func (p *Process) Resume() { p.signal(syscall.SIGCONT) }

// Kill kills the process and returns when it has ended.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

// Stop stops the process gracefully and returns when it has ended.
func (p *Process) Stop() error {
	if !p.end(syscall.SIGTERM) {
		return fmt.Errorf("%s did not stop within %s and was killed", p.Name, stopPatience)
	}
	return nil
}

// end ends the process for good, and reports whether the signal was enough.
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

// PID returns the id of the process, or 0 if it is not running.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// EndedAlone returns how many times the process ended by itself.
func (p *Process) EndedAlone() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alone
}

// StopAll stops processes one by one.
func StopAll(children []*Process) error {
	var errs []error
	for _, c := range children {
		c.Resume()
		errs = append(errs, c.Stop())
	}
	return errors.Join(errs...)
}

// CPUOf returns the CPU time that a process has used, in steps of 10 ms; 0 if it is
// unknown.
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

// WrittenBy returns how many bytes a process has written to disk so far; 0 if it is unknown.
func WrittenBy(pid int) uint64 {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0
	}
	io, err := process.IO()
	if err != nil {
		return 0
	}
	return io.WriteBytes
}

// Host is the address at which all processes of a run listen.
const Host = "127.0.0.1"

// AddrOf returns the address of a port of the run.
func AddrOf(port int) string { return net.JoinHostPort(Host, strconv.Itoa(port)) }
