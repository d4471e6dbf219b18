package main

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

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

func widthOf(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return defaultWidth
}

// pad makes text exactly so many columns wide.
func pad(text string, width int) string {
	text = fit(text, width)
	return text + strings.Repeat(" ", width-uniseg.StringWidth(text))
}

// fit makes text at most so many columns wide, and harmless to a terminal.
func fit(text string, width int) string {
	var fitted strings.Builder
	left, state := width, -1
	for text = strings.Map(harmless, text); text != ""; {
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

// harmless replaces what would move the cursor or turn the direction of text.
func harmless(r rune) rune {
	if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
		return ' '
	}
	return r
}

// streams is what a subcommand may read from and write to.
type streams struct {
	in       io.Reader
	out, err io.Writer
}
