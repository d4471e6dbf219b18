package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// console writes lines to standard error, with a progress bar below them when
// that is a terminal. Many goroutines may use it.
type console struct {
	mu  sync.Mutex
	err io.Writer
	bar *progressbar.ProgressBar // nil if standard error is no terminal
}

// newConsole returns a console for a work of total bytes, -1 if nobody knows.
func newConsole(stderr io.Writer, total int64) *console {
	c := &console{err: stderr}
	if file, ok := stderr.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		c.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(stderr),
			progressbar.OptionSetDescription("publishing"),
			progressbar.OptionShowBytes(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	return c
}

// Write writes one whole line. It is what a logger may write to.
func (c *console) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	return c.err.Write(line)
}

// printf writes one line.
func (c *console) printf(format string, args ...any) {
	// There is nobody left to tell if this cannot be written.
	_, _ = fmt.Fprintf(c, format+"\n", args...)
}

// advance moves the progress bar by n bytes.
func (c *console) advance(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bar != nil {
		_ = c.bar.Add(n) // a bar that cannot be drawn stops nothing
	}
}

// finish takes the progress bar away.
func (c *console) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	c.bar = nil
}

// clear makes room for a line where the bar is. The caller holds the mutex.
func (c *console) clear() {
	if c.bar != nil {
		_ = c.bar.Clear() // a bar that cannot be drawn stops nothing
	}
}

// printJSON prints one object on a line.
func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// printReport prints what was measured or found, for people or as JSON.
func printReport(out io.Writer, report interface{ print(io.Writer) error }, asJSON bool) error {
	if asJSON {
		return printJSON(out, report)
	}
	return report.print(out)
}

// newCountConsole returns a console for a work of so many things; 0 is for one
// that shows no progress.
func newCountConsole(stderr io.Writer, doing string, total int) *console {
	c := &console{err: stderr}
	if total > 0 && isTerminal(stderr) {
		c.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(stderr),
			progressbar.OptionSetDescription(doing),
			progressbar.OptionShowCount(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	return c
}
