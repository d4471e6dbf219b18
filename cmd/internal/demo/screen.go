package demo

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"poked/cmd/internal/terminal"
)

// screen shows how the demo goes: each poke in a line, or as JSON, or only how
// many there are.
type screen struct {
	out, words io.Writer // for pokes, and for everything else
	json       bool
	quiet      bool
	width      int                      // of a line, in columns
	bar        *progressbar.ProgressBar // nil where it would be in the way
	headed     bool
}

// screen returns where a demo of so many pokes is shown.
func (c *Cmd) screen(std terminal.Streams, pokes int) *screen {
	s := &screen{out: std.Out, words: std.Out, json: c.JSON, quiet: c.Quiet, width: terminal.Width(std.Out)}
	if c.JSON {
		s.words = std.Err
	}
	shows := !c.Quiet && terminal.IsTerminal(std.Out)
	if terminal.IsTerminal(std.Err) && !shows {
		s.bar = progressbar.NewOptions(pokes,
			progressbar.OptionSetWriter(std.Err),
			progressbar.OptionSetDescription("poked"),
			progressbar.OptionShowCount(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	return s
}

// say writes a line that is no poke.
func (s *screen) say(format string, args ...any) {
	if s.bar != nil {
		_ = s.bar.Clear() // a bar that cannot be drawn stops nothing
	}
	_, _ = fmt.Fprintf(s.words, format+"\n", args...) // what counts is the exit code
}

// finish takes the progress bar away.
func (s *screen) finish() {
	if s.bar != nil {
		_ = s.bar.Clear()
		s.bar = nil
	}
}

// show shows a poke that came so long after the beginning.
func (s *screen) show(a *arrival, pusher *recordedPusher, after time.Duration) error {
	if s.bar != nil {
		_ = s.bar.Add(1) // a bar that cannot be drawn stops nothing
	}
	if s.quiet {
		return nil
	}
	text := string(a.body)
	if !s.json {
		text = s.head() + s.line(a, pusher, after)
	}
	if _, err := io.WriteString(s.out, text+"\n"); err != nil {
		return fmt.Errorf("show poke: %w", err)
	}
	return nil
}

// head returns the heading of the columns, the first time.
func (s *screen) head() string {
	if s.headed {
		return ""
	}
	s.headed = true
	return terminal.Fit(columns("seconds", "unread", "how", "device", "room")+"what", s.width) + "\n"
}

// line returns a poke in one line. What a client has to fetch because its
// pusher gets ids only, the line does not have either.
func (s *screen) line(a *arrival, pusher *recordedPusher, after time.Duration) string {
	n := &a.poke.Notification
	device := "?"
	if pusher != nil {
		device = pusher.device
	}
	what := string(n.EventID)
	if n.Type != "" {
		what = who(n.SenderDisplayName, n.Sender) + ": " + said(n.Type, n.Content.Body)
	}
	if a.isBadge() {
		what = "(badge)"
	}
	unread := ""
	if n.Counts.Unread != nil {
		unread = fmt.Sprint(*n.Counts.Unread)
	}
	return terminal.Fit(columns(fmt.Sprintf("%.3f", after.Seconds()), unread, a.how(), device, n.RoomName)+what, s.width)
}

// how returns the priority, the sound, and "!" for a highlight.
func (a *arrival) how() string {
	words := []string{a.poke.Notification.Prio}
	for _, device := range a.poke.Notification.Devices {
		if device.Tweaks.Sound != "" {
			words = append(words, device.Tweaks.Sound)
		}
		if device.Tweaks.Highlight {
			words = append(words, "!")
		}
	}
	return strings.Join(words, " ")
}

func who(displayName, id string) string {
	if displayName != "" {
		return displayName
	}
	return id
}

// said returns the body of a message, or what else happened.
func said(kind string, body any) string {
	if text, ok := body.(string); ok {
		return text
	}
	return "(" + kind + ")"
}

// columns returns everything that stands before the last column.
func columns(seconds, unread, how, device, room string) string {
	return fmt.Sprintf("%7s %6s  %s  %s  %s  ", seconds, unread, terminal.Pad(how, 14), terminal.Pad(device, 16), terminal.Pad(room, 20))
}
