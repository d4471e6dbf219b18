package terminal

import (
	"io"

	"github.com/schollz/progressbar/v3"
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
		c.part, c.bar = part, newBar(c.err, part, int64(total),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(part))
	}
	if c.bar != nil {
		_ = c.bar.Set(done) // a bar that cannot be drawn stops nothing
	}
}
