// Package terminal is the input and output of a subcommand: its streams, tables, JSON
// lines, and a progress bar below log lines if the output is a terminal.
package terminal

import (
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
	"golang.org/x/term"
)

// defaultWidth is the width of lines, in columns, if the output is not a terminal.
const defaultWidth = 120

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Width returns the number of columns of a terminal, or a default if w is not one.
func Width(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return defaultWidth
}

// Pad cuts or pads text to exactly width columns.
func Pad(text string, width int) string {
	text = Fit(text, width)
	return text + strings.Repeat(" ", width-uniseg.StringWidth(text))
}

// Fit cuts text to at most width columns and makes it harmless to a terminal.
func Fit(text string, width int) string {
	var fitted strings.Builder
	left, state := width, -1
	for text = strings.Map(Harmless, text); text != ""; {
		var cluster string
		var columns int
		cluster, text, columns, state = uniseg.FirstGraphemeClusterInString(text, state)
		if columns > left || columns == left && text != "" {
			return fitted.String() + "…"
		}
		fitted.WriteString(cluster)
		left -= columns
	}
	return fitted.String()
}

// Harmless replaces control characters, which could move the cursor, and characters that
// change the direction of text.
func Harmless(r rune) rune {
	if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
		return ' '
	}
	return r
}

// Streams are the standard streams of a subcommand.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}
