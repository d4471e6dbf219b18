package terminal

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Console writes lines to standard error, with a progress bar below them if that is a
// terminal. It is safe for concurrent use.
type Console struct {
	mu  sync.Mutex
	err io.Writer
	bar *progressbar.ProgressBar // nil if standard error is not a terminal
}

// NewConsole returns a console with a progress bar of total bytes, -1 if that is unknown.
func NewConsole(stderr io.Writer, total int64) *Console {
	return &Console{err: stderr, bar: newBar(stderr, "publishing", total, progressbar.OptionShowBytes(true))}
}

// newBar returns a progress bar, or nil if standard error is not a terminal.
func newBar(stderr io.Writer, what string, total int64, options ...progressbar.Option) *progressbar.ProgressBar {
	if !IsTerminal(stderr) {
		return nil
	}
	return progressbar.NewOptions64(total, append(options,
		progressbar.OptionSetWriter(stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)...)
}

// Write writes one whole line, so that a logger can write to a console.
func (c *Console) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	return c.err.Write(line)
}

// Printf writes one line.
func (c *Console) Printf(format string, args ...any) {
	// A failed write to standard error cannot be reported anywhere.
	_, _ = fmt.Fprintf(c, format+"\n", args...)
}

// Advance moves the progress bar by n bytes.
func (c *Console) Advance(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bar != nil {
		_ = c.bar.Add(n) // a bar that cannot be drawn stops nothing
	}
}

// Finish removes the progress bar.
func (c *Console) Finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	c.bar = nil
}

// Clear erases the bar for a line that something else prints on the same terminal.
func (c *Console) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
}

// clear erases the bar until its next update. The caller holds the mutex.
func (c *Console) clear() {
	if c.bar != nil {
		_ = c.bar.Clear() // a bar that cannot be drawn stops nothing
	}
}

// PrintJSON prints a value as one line of JSON.
func PrintJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// PrintReport prints a report as text or as JSON.
func PrintReport(out io.Writer, report interface{ Print(io.Writer) error }, asJSON bool) error {
	if asJSON {
		return PrintJSON(out, report)
	}
	return report.Print(out)
}

// NewCountConsole returns a console with a progress bar of total items; without a bar if
// total is 0.
func NewCountConsole(stderr io.Writer, doing string, total int) *Console {
	c := &Console{err: stderr}
	if total > 0 {
		c.bar = newBar(stderr, doing, int64(total), progressbar.OptionShowCount())
	}
	return c
}
