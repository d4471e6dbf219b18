package terminal

import (
	"fmt"
	"io"
	"strings"

	"github.com/rivo/uniseg"
)

// tableBlock is how many rows are printed together. Columns are as wide as the rows of
// their block need.
const tableBlock = 500

// Table prints rows in columns below a header. On a terminal each row fits on one line.
type Table struct {
	out  io.Writer
	head []string
	rows [][]string
	said bool // the header was printed
	fit  int  // maximum width of a row in columns, 0 for no limit
}

// NewTable returns a table with a header. If out is a terminal, rows are cut at its width.
func NewTable(out io.Writer, head []string) *Table {
	t := &Table{out: out, head: head}
	if IsTerminal(out) {
		t.fit = Width(out)
	}
	return t
}

// Add adds a row with as many cells as the header.
func (t *Table) Add(row []string) error {
	for i, cell := range row {
		row[i] = strings.Map(Harmless, cell)
	}
	if t.rows = append(t.rows, row); len(t.rows) == tableBlock {
		return t.Flush()
	}
	return nil
}

// Flush prints the rows that were added. The first time it also prints the header, even if
// there are no rows.
func (t *Table) Flush() error {
	rows := t.rows
	if !t.said {
		rows = append([][]string{t.head}, rows...)
	}
	t.rows, t.said = nil, true
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], uniseg.StringWidth(cell))
		}
	}
	var text strings.Builder
	for _, row := range rows {
		text.WriteString(t.line(row, widths) + "\n")
	}
	if _, err := io.WriteString(t.out, text.String()); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}

func (t *Table) line(row []string, widths []int) string {
	var line strings.Builder
	for i, cell := range row {
		line.WriteString(cell)
		if i < len(row)-1 {
			line.WriteString(strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell)+2))
		}
	}
	if t.fit > 0 {
		return Fit(line.String(), t.fit)
	}
	return line.String()
}
