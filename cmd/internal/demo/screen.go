package demo

import (
	"fmt"
	"io"
	"strings"
	"time"

	"poked/cmd/internal/terminal"
)

// screen shows how the demo goes: the first poke of each kind in a line, or each poke, in
// a line or as JSON.
type screen struct {
	out, words io.Writer // for pokes, and for everything else
	json       bool
	all        bool              // shows each poke
	shown      map[string]bool   // kinds of pokes, unless all are shown
	width      int               // of a line, in columns
	progress   *terminal.Console // without a bar where that would be in the way
	headed     bool
}

// narrow is the width, in columns, below which the columns give way to what was said.
const narrow = 90

// screen returns where a demo of so many pokes is shown.
func (c *Cmd) screen(std terminal.Streams, pokes int) *screen {
	s := &screen{out: std.Out, words: std.Out, json: c.JSON, all: c.All || c.JSON, shown: map[string]bool{}, width: terminal.Width(std.Out)}
	if c.JSON {
		s.words = std.Err
	}
	if s.all && terminal.IsTerminal(std.Out) {
		pokes = 0
	}
	s.progress = terminal.NewCountConsole(std.Err, "poked", pokes)
	return s
}

// say writes a line that is no poke.
func (s *screen) say(format string, args ...any) {
	s.progress.Clear()
	_, _ = fmt.Fprintf(s.words, format+"\n", args...) // what counts is the exit code
}

// show shows a poke that came so long after the beginning.
func (s *screen) show(a *arrival, pusher *recordedPusher, after time.Duration) error {
	s.progress.Advance(1)
	if kind := a.kind(); !s.all {
		if s.shown[kind] {
			return nil
		}
		s.shown[kind] = true
	}
	text := string(a.body)
	if !s.json {
		text = s.head() + s.line(a, pusher, after)
	}
	s.progress.Clear()
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
	return terminal.Fit(s.columns("seconds", "unread", "how", "device", "room")+"what", s.width) + "\n"
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
	return terminal.Fit(s.columns(fmt.Sprintf("%.3f", after.Seconds()), unread, a.how(), device, n.RoomName)+what, s.width)
}

// kind returns what tells kinds of pokes apart: how they are, and how much they tell.
func (a *arrival) kind() string {
	switch {
	case a.isBadge():
		return "badge"
	case a.poke.Notification.Type == "":
		return a.how() + ", ids only"
	}
	return a.how()
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
func (s *screen) columns(seconds, unread, how, device, room string) string {
	deviceWidth, roomWidth := 16, 20
	if s.width < narrow {
		deviceWidth, roomWidth = 13, 13
	}
	return fmt.Sprintf("%7s %6s  %s  %s  %s  ", seconds, unread,
		terminal.Pad(how, 14), terminal.Pad(device, deviceWidth), terminal.Pad(room, roomWidth))
}
