// Package terminal is what a subcommand reads from and writes to: streams, tables, JSON
// lines, and progress below log lines where that is seen.
package terminal

import (
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
	"golang.org/x/term"
)

// defaultWidth is how wide lines are where that is nobody's business.
const defaultWidth = 120

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Width returns the columns of a terminal, or a default for what is none.
func Width(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return defaultWidth
}

// Pad makes text exactly so many columns wide.
func Pad(text string, width int) string {
	text = Fit(text, width)
	return text + strings.Repeat(" ", width-uniseg.StringWidth(text))
}

// Fit makes text at most so many columns wide, and harmless to a terminal.
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

// Harmless replaces what would move the cursor or turn the direction of text.
func Harmless(r rune) rune {
	if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
		return ' '
	}
	return r
}

// Streams is what a subcommand may read from and write to.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}
