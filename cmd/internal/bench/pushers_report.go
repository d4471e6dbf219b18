package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// pushersReport is the result of "pokelab bench memory".
type pushersReport struct {
	Pushers  int          `json:"pushers"`
	EachUser int          `json:"pushers_each_user"`
	OwnData  int          `json:"own_data_percent"`
	Rows     []pushersRow `json:"rows"`
}

// pushersRow is the result for a dispatcher that owns a share of the partitions.
type pushersRow struct {
	Share     int             `json:"dispatchers"`      // that share the partitions
	Idle      directoryReport `json:"idle"`             // without pushers
	Loaded    directoryReport `json:"loaded"`           // with all pushers
	BytesEach float64         `json:"bytes_per_pusher"` // of working memory, more than idle
}

// directoryReport is the cost of a process that has loaded all pushers. Memory is in bytes.
type directoryReport struct {
	Loaded  int64 `json:"rss_loaded"`  // right after loading
	Working int64 `json:"rss_working"` // maximum during simulated work
	AtRest  int64 `json:"rss_at_rest"` // after all garbage has been returned to the system
	Peak    int64 `json:"rss_peak"`    // maximum since the start
	Heap    int64 `json:"go_heap"`     // without garbage
	GOGC    int   `json:"gogc"`

	LoadTime   time.Duration `json:"load_ns"`
	LoadCPU    time.Duration `json:"load_cpu_ns"`
	CollectCPU time.Duration `json:"collection_cpu_ns"` // of one garbage collection
}

func (r pushersReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(table, format+"\t\n", args...) } // Flush returns the error
	line("owns\tpushers\tRSS loaded\tworking\tat rest\tpeak\tbytes/pusher\tload\tCPU\tCPU/GC")
	row := func(share, pushers int, d directoryReport, each string) {
		mib := func(bytes int64) float64 { return float64(bytes) / (1 << 20) }
		line("1/%d\t%d\t%.1f MiB\t%.1f\t%.1f\t%.1f\t%s\t%s\t%s\t%s", share, pushers, mib(d.Loaded), mib(d.Working), mib(d.AtRest), mib(d.Peak),
			each, d.LoadTime.Round(100*time.Millisecond), d.LoadCPU.Round(100*time.Millisecond), d.CollectCPU.Round(time.Millisecond))
	}
	for _, r1 := range r.Rows {
		row(r1.Share, 0, r1.Idle, "")
		row(r1.Share, r.Pushers, r1.Loaded, fmt.Sprintf("%.0f", r1.BytesEach))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}
