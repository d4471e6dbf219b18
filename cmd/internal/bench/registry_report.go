package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// registryReport is the result of "pokelab bench registry".
type registryReport struct {
	Clients int           `json:"clients"`
	Readers int           `json:"readers"`
	Pushers int           `json:"pushers"`
	Rows    []registryRow `json:"rows"`
}

// registryRow is the result for one kind of database and a number of registries.
type registryRow struct {
	Database   string          `json:"database"`
	Registries int             `json:"registries"`
	Sets       registryLatency `json:"sets"`
	Gets       registryLatency `json:"gets"` // while pushers are set
	// Ready is the time from the start of the last registry until it is ready: with one
	// registry, with all pushers in the database.
	Ready time.Duration `json:"ready_ns"`
	CPU   time.Duration `json:"cpu_ns"` // of all registries, since their starts
}

// registryLatency is how many requests were answered per second, and how soon.
type registryLatency struct {
	Rate float64       `json:"rate"`
	P50  time.Duration `json:"p50_ns"`
	P99  time.Duration `json:"p99_ns"`
	Max  time.Duration `json:"max_ns"`
}

func (r registryReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(table, format+"\t\n", args...) } // Flush returns the error
	line("database\tregistries\tsets/s\tp50\tp99\tmax\tgets/s\tp50\tp99\tready with\tpushers\tCPU")
	brief := func(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }
	for _, row := range r.Rows {
		pushers := r.Pushers
		if row.Registries > 1 {
			pushers = 0
		}
		line("%s\t%d\t%.0f\t%s\t%s\t%s\t%.0f\t%s\t%s\t%s\t%d\t%s", row.Database, row.Registries, row.Sets.Rate, brief(row.Sets.P50), brief(row.Sets.P99),
			brief(row.Sets.Max), row.Gets.Rate, brief(row.Gets.P50), brief(row.Gets.P99), row.Ready.Round(10*time.Millisecond), pushers, row.CPU.Round(10*time.Millisecond))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}
