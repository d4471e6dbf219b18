package live

import (
	"fmt"
	"io"
	"time"
)

// report is the table of all checks.
type report struct {
	out           io.Writer
	rows          []row
	checks, wrong int
}

// row is one line of the table.
type row struct {
	name, expected, theirs, ours string
	right                        bool
}

func newReport(out io.Writer) *report { return &report{out: out} }

func (r *report) add(row row) {
	r.rows = append(r.rows, row)
	r.checks++
	if !row.right {
		r.wrong++
	}
}

// print prints the table as Markdown. Of what is as expected it says so.
func (r *report) print(took time.Duration) {
	same := func(got, want string) string {
		if got == want {
			return "the same"
		}
		return got
	}
	_, _ = fmt.Fprint(r.out, "| what | expected (Matrix 1.19) | Dendrite's own push | poked | |\n|---|---|---|---|---|\n")
	for _, row := range r.rows {
		verdict := "ok"
		if !row.right {
			verdict = "WRONG"
		}
		_, _ = fmt.Fprintf(r.out, "| %s | %s | %s | %s | %s |\n",
			row.name, row.expected, same(row.theirs, row.expected), same(row.ours, row.expected), verdict)
	}
	_, _ = fmt.Fprintf(r.out, "\n%d checks, %d wrong, in %s\n", r.checks, r.wrong, took.Round(time.Second))
}
