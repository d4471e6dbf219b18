package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// streamsReport is the result of "pokelab bench streams".
type streamsReport struct {
	Rows []streamsRow `json:"rows"`
}

// streamsRow is the result for a number of streams.
type streamsRow struct {
	Streams int           `json:"streams"`
	Rate    float64       `json:"writes_per_second"`
	P99     time.Duration `json:"p99_ns"` // the highest of all rounds
	CPU     float64       `json:"cpu_us"` // of all servers, for each write
	// Paused and Others are the longest time without a write: in the streams that the paused
	// server leads, and in those of the other servers. Others is 0 if there are none.
	Paused time.Duration `json:"paused_ns"`
	Others time.Duration `json:"others_ns"`
}

func (r streamsReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(table, format+"\t\n", args...) } // Flush returns the error
	line("streams\twrites/s\tp99\tCPU µs/write\tpaused leader's streams wait\tothers wait")
	for _, row := range r.Rows {
		others := "-"
		if row.Others > 0 {
			others = row.Others.Round(time.Millisecond).String()
		}
		line("%d\t%.0f\t%s\t%.0f\t%s\t%s", row.Streams, row.Rate, row.P99.Round(100*time.Microsecond), row.CPU,
			row.Paused.Round(time.Millisecond), others)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// verdict returns an error if a stream waited for the leader of another.
func (r streamsReport) verdict() error {
	for _, row := range r.Rows {
		if row.Others > row.Paused/2 {
			return fmt.Errorf("with %d streams, those of other servers waited %v while the paused server's waited %v", row.Streams, row.Others, row.Paused)
		}
		if row.Rate == 0 {
			return errors.New("nothing was written")
		}
	}
	return nil
}

// streamsSample is what was written during some time. It is safe for concurrent use.
type streamsSample struct {
	mu      sync.Mutex
	last    []time.Time     // by stream: when a message was stored, or when the time began
	longest []time.Duration // by stream: between two of these
	times   []time.Duration // of all writes
}

func newStreamsSample(streams int) *streamsSample {
	s := &streamsSample{longest: make([]time.Duration, streams)}
	for range streams {
		s.last = append(s.last, time.Now())
	}
	return s
}

// took records a write to a stream.
func (s *streamsSample) took(i int, began, ended time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.longest[i] = max(s.longest[i], ended.Sub(s.last[i]))
	s.last[i] = ended
	s.times = append(s.times, ended.Sub(began))
}

// stored returns how many messages were stored.
func (s *streamsSample) stored() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

// p99 returns how long 99 % of the writes took at most.
func (s *streamsSample) p99() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.times) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(s.times))[len(s.times)*99/100]
}

// gaps returns, for each stream, the longest time without a write until now.
func (s *streamsSample) gaps() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	gaps := slices.Clone(s.longest)
	for i, at := range s.last {
		gaps[i] = max(gaps[i], time.Since(at))
	}
	return gaps
}
