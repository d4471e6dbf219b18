package terminal

import (
	"io"

	"github.com/schollz/progressbar/v3"
)

// Counter is a console that shows the progress of several parts, one after the other.
type Counter struct {
	*Console
	part string
}

// NewCounter returns a counter that writes to standard error.
func NewCounter(stderr io.Writer) *Counter { return &Counter{Console: &Console{err: stderr}} }

// Reach shows that done of total items of a part are finished.
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
