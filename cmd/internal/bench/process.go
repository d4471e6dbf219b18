package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"poked/cmd/internal/child"
)

// process is a hidden subcommand of this program in a separate process. It ends with its
// standard input, so that it does not outlive this one.
type process struct {
	url   string // the first line on its standard output
	cmd   *exec.Cmd
	stdin io.Closer
}

// startProcess starts a hidden subcommand, and returns when it has printed its first line.
func startProcess(ctx context.Context, args ...string) (*process, error) {
	fail := func(err error) (*process, error) { return nil, fmt.Errorf("start %s: %w", args[0], err) }
	self, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	cmd := exec.CommandContext(ctx, self, args...) //nolint:gosec // it is this program
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fail(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	p := &process{cmd: cmd, stdin: stdin}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		p.stop()
		return fail(fmt.Errorf("it printed no URL: %w", err))
	}
	p.url = strings.TrimSpace(line)
	return p, nil
}

func (p *process) stop() {
	_ = p.stdin.Close() // it ends with its input
	_ = p.cmd.Wait()
}

// cpu returns the CPU time that the process has used.
func (p *process) cpu() time.Duration { return child.CPUOf(p.cmd.Process.Pid) }

// written returns how many bytes the process has written to disk.
func (p *process) written() uint64 { return child.WrittenBy(p.cmd.Process.Pid) }

// resident returns the resident set size of the process in bytes, or 0 if it is unknown.
func (p *process) resident() int64 { return statusBytesOf(strconv.Itoa(p.cmd.Process.Pid), "VmRSS:") }
