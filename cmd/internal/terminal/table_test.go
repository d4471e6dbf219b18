package terminal

import (
	"fmt"
	"strings"
	"testing"
)

// A long table is printed in blocks, with one header.
func TestTableIsPrintedInBlocks(t *testing.T) {
	var out strings.Builder
	table := NewTable(&out, []string{"A", "B"})
	for i := range 2*tableBlock + 3 {
		if err := table.Add([]string{fmt.Sprintf("雪%d", i), "\x1bb"}); err != nil {
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
	if lines[0] != "A      B" || lines[1] != "雪0     b" {
		t.Errorf("begins with %q and %q", lines[0], lines[1])
	}
}
