package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// pushersReport is what registered pushers cost a dispatcher.
type pushersReport struct {
	Pushers  int          `json:"pushers"`
	EachUser int          `json:"pushers_each_user"`
	OwnData  int          `json:"own_data_percent"`
	Rows     []pushersRow `json:"rows"`
}

// pushersRow is what they cost one that owns a share of the partitions.
type pushersRow struct {
	Share     int             `json:"dispatchers"`      // that share the partitions
	Idle      directoryReport `json:"idle"`             // while nothing is registered
	Loaded    directoryReport `json:"loaded"`           // with all pushers
	BytesEach float64         `json:"bytes_per_pusher"` // of memory while it works, above idle
}

// directoryReport is what a process holds and spends that knows what is
// registered. Memory is in bytes.
type directoryReport struct {
	Loaded  int64 `json:"rss_loaded"`  // right after everything is known
	Working int64 `json:"rss_working"` // the most while garbage is made and collected
	AtRest  int64 `json:"rss_at_rest"` // when all garbage has gone back to the system
	Peak    int64 `json:"rss_peak"`    // the most there ever was
	Heap    int64 `json:"go_heap"`     // without garbage
	GOGC    int   `json:"gogc"`

	LoadTime   time.Duration `json:"load_ns"`
	LoadCPU    time.Duration `json:"load_cpu_ns"`
	CollectCPU time.Duration `json:"collection_cpu_ns"` // of one garbage collection
}

func (r pushersReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(table, format+"\t\n", args...) } // Flush tells
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
