package demo

import (
	"fmt"
	"io"
	"time"

	"poked/cmd/internal/terminal"
)

// screen shows the demo: the first poke of each kind as a line, or each poke, as a line or
// as JSON.
type screen struct {
	out      io.Writer // for pokes
	notes    io.Writer // for everything else
	json     bool
	all      bool              // shows each poke
	shown    map[string]bool   // kinds of pokes, unless all are shown
	width    int               // of a line, in columns
	progress *terminal.Console // without a bar where that would be in the way
	headed   bool
}

// narrow is the width, in columns, below which the other columns shrink in favour of the last.
const narrow = 90

// screen returns the screen of a demo with this many pokes.
func (c *Cmd) screen(std terminal.Streams, pokes int) *screen {
	s := &screen{out: std.Out, notes: std.Out, json: c.JSON, all: c.All || c.JSON, shown: map[string]bool{}, width: terminal.Width(std.Out)}
	if c.JSON {
		s.notes = std.Err
	}
	if s.all && terminal.IsTerminal(std.Out) {
		pokes = 0
	}
	s.progress = terminal.NewCountConsole(std.Err, "poked", pokes)
	return s
}

// printf prints a line that is not a poke.
func (s *screen) printf(format string, args ...any) {
	s.progress.Clear()
	_, _ = fmt.Fprintf(s.notes, format+"\n", args...) // only the exit code matters
}

// show shows a poke that arrived so long after the start.
func (s *screen) show(a *arrival, pusher *recordedPusher, after time.Duration) error {
	s.progress.Advance(1)
	if kind := a.kind(); !s.all {
		if s.shown[kind] {
			return nil
		}
		s.shown[kind] = true
	}
	text := string(a.Body)
	if !s.json {
		text = s.head() + s.line(a, pusher, after)
	}
	s.progress.Clear()
	if _, err := io.WriteString(s.out, text+"\n"); err != nil {
		return fmt.Errorf("show poke: %w", err)
	}
	return nil
}

// head returns the header line the first time, then "".
func (s *screen) head() string {
	if s.headed {
		return ""
	}
	s.headed = true
	return terminal.Fit(s.columns("seconds", "unread", "how", "device", "room")+"what", s.width) + "\n"
}

// line returns a poke as one line. For an event_id_only pusher it shows only the ids, like
// the poke itself.
func (s *screen) line(a *arrival, pusher *recordedPusher, after time.Duration) string {
	n := &a.Notification
	device := "?"
	if pusher != nil {
		device = pusher.device
	}
	unread := ""
	if n.Counts.Unread != nil {
		unread = fmt.Sprint(*n.Counts.Unread)
	}
	return terminal.Fit(s.columns(fmt.Sprintf("%.3f", after.Seconds()), unread, n.How(), device, n.RoomName)+n.What(), s.width)
}

// kind returns the kind of a poke: its priority and tweaks, and how much it contains.
func (a *arrival) kind() string {
	switch {
	case a.isBadge():
		return "badge"
	case a.Notification.Type == "":
		return a.Notification.How() + ", ids only"
	}
	return a.Notification.How()
}

// columns returns all columns but the last.
func (s *screen) columns(seconds, unread, how, device, room string) string {
	deviceWidth, roomWidth := 16, 20
	if s.width < narrow {
		deviceWidth, roomWidth = 13, 13
	}
	return fmt.Sprintf("%7s %6s  %s  %s  %s  ", seconds, unread,
		terminal.Pad(how, 14), terminal.Pad(device, deviceWidth), terminal.Pad(room, roomWidth))
}
