package terminal

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rivo/uniseg"
)

// A long table is printed in blocks, with one header.
func TestTableIsPrintedInBlocks(t *testing.T) {
	var out strings.Builder
	table := NewTable(&out, []Column{{Title: "A"}, {Title: "B"}})
	for i := range 2*tableBlock + 3 {
		if err := table.Add([]string{fmt.Sprintf("雪%04d", i), "\x1bb"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 2*tableBlock+5 || strings.Count(out.String(), "A") != 1 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%d lines, beginning with %q", len(lines), lines[:2])
	}
	if lines[0] != "A       B" || lines[1] != "雪0000   b" {
		t.Errorf("begins with %q and %q", lines[0], lines[1])
	}
}

// A table without rows prints no header.
func TestEmptyTablePrintsNothing(t *testing.T) {
	var out strings.Builder
	if err := NewTable(&out, []Column{{Title: "A"}}).Flush(); err != nil || out.Len() > 0 {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// On a terminal no line is wider than it: columns move below others, cells that may be cut
// are cut, and those that must not be are whole.
func TestTableFits(t *testing.T) {
	columns := []Column{
		{Title: "USER", Least: 6}, {Title: "DEVICE", Under: true, Least: 6}, {Title: "STATE"}, {Title: "LAST ERROR"}, {Title: "GATEWAY", Under: true},
	}
	row := []string{"@a-very-long-name:example.org", "Alice's 📱 phone", "lagging", "http_502", "https://push.example.org"}
	for wide, want := range map[int]string{
		200: "USER                           DEVICE            STATE    LAST ERROR  GATEWAY\n" +
			"@a-very-long-name:example.org  Alice's 📱 phone  lagging  http_502    https://push.example.org\n",
		70: "USER                           STATE    LAST ERROR\n" +
			"  DEVICE                                GATEWAY\n" +
			"@a-very-long-name:example.org  lagging  http_502\n" +
			"  Alice's 📱 phone                      https://push.example.org\n",
		50: "USER             STATE    LAST ERROR\n" +
			"  DEVICE                  GATEWAY\n" +
			"@a-very-long-n…  lagging  http_502\n" +
			"  Alice's 📱 p…           https://push.example.org\n",
		30: "USER:       @a-very-long-name:example.org\n" +
			"DEVICE:     Alice's 📱 phone\n" +
			"STATE:      lagging\n" +
			"LAST ERROR: http_502\n" +
			"GATEWAY:    https://push.example.org\n\n",
	} {
		var out strings.Builder
		table := NewTable(&out, columns)
		table.wide = wide
		if err := table.Add(append([]string{}, row...)); err != nil {
			t.Fatal(err)
		}
		if err := table.Flush(); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("at %d columns:\n%s\nwant\n%s", wide, out.String(), want)
		}
		for line := range strings.Lines(out.String()) {
			if n := uniseg.StringWidth(strings.TrimSuffix(line, "\n")); n > wide && wide > 30 {
				t.Errorf("at %d columns a line has %d: %s", wide, n, line)
			}
		}
	}
}

// A line for each cell leaves out what is not known.
func TestVerticalTable(t *testing.T) {
	var out strings.Builder
	table := NewTable(&out, []Column{{Title: "USER"}, {Title: "NEXT TRY"}, {Title: "STATE"}})
	table.Vertical()
	for _, user := range []string{"@a:x", "@b:x"} {
		if err := table.Add([]string{user, "-", "idle"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	if want := "USER:  @a:x\nSTATE: idle\n\nUSER:  @b:x\nSTATE: idle\n\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
