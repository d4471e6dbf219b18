package terminal

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// tableBlock is how many rows are printed together. Columns are as wide as the rows of
// their block need.
const tableBlock = 500

// Column is a column of a table.
type Column struct {
	Title string
	// Under is set for a column that moves below the column before it if the terminal is
	// too narrow for one line a row.
	Under bool
	// Least is how many characters a cell may be cut to on a terminal that is too narrow,
	// or 0 if the cells are never cut.
	Least int
}

// Table prints rows in columns below a header. On a terminal a row that is too wide takes
// more lines, and if even its columns that are never cut are too wide, a line for each cell:
//
//	USER    DEVICE  STATE       USER      STATE        USER:    @a:b
//	@a:b    Phone   idle          DEVICE  idle         DEVICE:  Phone
//	                            @a:b                   STATE:   idle
//	                              Phone
type Table struct {
	out     io.Writer
	columns []Column
	rows    [][]string
	header  string // that was printed last
	wide    int    // maximum width of a line in columns, 0 for no limit

	vertical bool // a line for each cell
}

// NewTable returns a table. If out is a terminal its lines fit there.
func NewTable(out io.Writer, columns []Column) *Table {
	t := &Table{out: out, columns: columns}
	if IsTerminal(out) {
		t.wide = Width(out)
	}
	return t
}

// Wide makes the table print one line a row, whatever the width of the terminal.
func (t *Table) Wide() { t.wide = 0 }

// Vertical makes the table print a line for each cell that is not empty, and an empty line
// after each row.
func (t *Table) Vertical() { t.vertical = true }

// Add adds a row with a cell for each column.
func (t *Table) Add(row []string) error {
	for i, cell := range row {
		row[i] = strings.Map(Harmless, cell)
	}
	if t.rows = append(t.rows, row); len(t.rows) == tableBlock {
		return t.Flush()
	}
	return nil
}

// Flush prints the rows that were added since the last call, below a header unless they
// have the same one as those. Without rows it prints nothing.
func (t *Table) Flush() error {
	if len(t.rows) == 0 {
		return nil
	}
	header, body := t.lay()
	if header == t.header {
		header = ""
	} else {
		t.header = header
	}
	t.rows = nil
	if _, err := io.WriteString(t.out, header+body); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}

// lay returns the header and the rows in the first layout that fits.
func (t *Table) lay() (header, body string) {
	for _, stacked := range []bool{false, true} {
		if t.vertical {
			break
		}
		groups := t.groups(stacked)
		if widths, ok := t.widths(groups, stacked); ok {
			return t.render(groups, widths)
		}
	}
	for _, row := range t.rows {
		body += t.details(row) + "\n"
	}
	return "", body
}

// groups returns the columns that share a place on the line, by their indexes.
func (t *Table) groups(stacked bool) (groups [][]int) {
	for i, column := range t.columns {
		if last := len(groups) - 1; stacked && column.Under && last >= 0 {
			groups[last] = append(groups[last], i)
			continue
		}
		groups = append(groups, []int{i})
	}
	return groups
}

// gap is the space between two columns, and indent that before a cell below the first one.
const (
	gap    = "  "
	indent = "  "
)

// widths returns how wide each group of columns is, and whether they fit, with cells cut as
// far as their columns permit.
func (t *Table) widths(groups [][]int, cut bool) (widths []int, fit bool) {
	least, total := make([]int, len(groups)), -len(gap)
	for i, group := range groups {
		width := 0
		for place, column := range group {
			c, widest := t.columns[column], t.widest(column)+len(inset(i, place))
			width = max(width, widest)
			if cut && c.Least > 0 {
				widest = min(widest, max(c.Least, len(c.Title))+len(inset(i, place)))
			}
			least[i] = max(least[i], widest)
		}
		widths = append(widths, width)
		total += width + len(gap)
	}
	return widths, t.wide == 0 || narrow(widths, least, total-t.wide)
}

// narrow takes over characters from the widest columns, and reports whether that leaves
// each at least its least width.
func narrow(widths, least []int, over int) bool {
	for ; over > 0; over-- {
		widest := -1
		for i := range widths {
			if widths[i] > least[i] && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return false
		}
		widths[widest]--
	}
	return true
}

// widest returns the width of the widest cell of a column, its title included.
func (t *Table) widest(column int) int {
	width := text.StringWidthWithoutEscSequences(t.columns[column].Title)
	for _, row := range t.rows {
		width = max(width, text.StringWidthWithoutEscSequences(row[column]))
	}
	return width
}

// inset returns what stands before a cell: cells below the first one of a row are indented,
// so that rows are told apart.
func inset(group, place int) string {
	if group == 0 && place > 0 {
		return indent
	}
	return ""
}

// render returns the header and the rows.
func (t *Table) render(groups [][]int, widths []int) (header, body string) {
	titles := make([]string, len(t.columns))
	for i, column := range t.columns {
		titles[i] = column.Title
	}
	w := table.NewWriter()
	w.SetStyle(plain())
	w.SuppressTrailingSpaces()
	w.AppendRow(stack(groups, widths, titles))
	lines := 0
	for _, group := range groups {
		lines = max(lines, len(group))
	}
	for _, row := range t.rows {
		w.AppendRow(stack(groups, widths, row))
	}
	all := strings.SplitAfterN(w.Render()+"\n", "\n", lines+1)
	return strings.Join(all[:lines], ""), all[lines]
}

// stack returns the cells of a row, those of a group below each other.
func stack(groups [][]int, widths []int, row []string) table.Row {
	var cells table.Row
	for i, group := range groups {
		var lines []string
		for place, column := range group {
			before := inset(i, place)
			lines = append(lines, before+text.Snip(row[column], widths[i]-len(before), "…"))
		}
		cells = append(cells, strings.Join(lines, "\n"))
	}
	return cells
}

// plain returns a style without lines between columns and rows.
func plain() table.Style {
	return table.Style{
		Box:     table.BoxStyle{PaddingRight: gap},
		Format:  table.FormatOptions{Row: text.FormatDefault},
		Options: table.OptionsNoBordersAndSeparators,
	}
}

// details returns a row as a line for each cell that is not empty.
func (t *Table) details(row []string) string {
	var fields [][2]string
	for i, cell := range row {
		if cell != "-" {
			fields = append(fields, [2]string{t.columns[i].Title, cell})
		}
	}
	return Details(fields)
}

// Details returns the fields of one thing, a line each, without the empty ones.
func Details(fields [][2]string) string {
	fields = slices.DeleteFunc(fields, func(field [2]string) bool { return field[1] == "" })
	width := 0
	for _, field := range fields {
		width = max(width, len(field[0]))
	}
	var lines strings.Builder
	for _, field := range fields {
		_, _ = fmt.Fprintf(&lines, "%-*s %s\n", width+1, field[0]+":", strings.Map(Harmless, field[1]))
	}
	return lines.String()
}
