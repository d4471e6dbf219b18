package terminal

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Counter is a console for a work of several parts, whose things are counted.
type Counter struct {
	*Console
	part string
}

// NewCounter returns a counter that writes to standard error.
func NewCounter(stderr io.Writer) *Counter { return &Counter{Console: &Console{err: stderr}} }

// Reach says how far a part of the work is.
func (c *Counter) Reach(part string, done, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if part != c.part {
		c.clear()
		c.part, c.bar = part, newBar(c.err, part, total)
	}
	if c.bar != nil {
		_ = c.bar.Set(done) // a bar that cannot be drawn stops nothing
	}
}

// newBar returns a bar that says how many of how many and how many a second, or nil
// if standard error is no terminal.
func newBar(stderr io.Writer, what string, total int) *progressbar.ProgressBar {
	file, ok := stderr.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return progressbar.NewOptions(total,
		progressbar.OptionSetWriter(stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString(what),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
}
