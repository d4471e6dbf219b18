package bench

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"poked/cmd/internal/child"
	"poked/events/stream"
)

// dayGoal is the CPU time of a notification at NATS and the dispatcher without the POST, in
// microseconds.
const dayGoal = 70

// dayReport is the result of "pokelab bench day".
type dayReport struct {
	Events        int `json:"events"`
	Users         int `json:"users"`
	Fanout        int `json:"fanout"`
	Notifications int `json:"notifications"`
	Pokes         int `json:"pokes"`
	Receipts      int `json:"receipts"`
	Redactions    int `json:"redactions"`

	Rate       float64 `json:"notifications_per_second"`
	NATS       float64 `json:"nats_cpu_us_per_notification"`
	Dispatcher float64 `json:"dispatcher_cpu_us_per_notification"`
	HomeCPU    float64 `json:"nats_cpu_us_of_the_homeserver_per_notification"` // included in NATS
	Written    float64 `json:"nats_disk_bytes_per_notification"`

	Stored []storedIn    `json:"stored"`
	Bare   []burstSample `json:"bare"` // before and after

	PassedOver int           `json:"passed_over"`
	CaughtUp   time.Duration `json:"caught_up_ns"` // pushers of the gateway that was down
	Lost       int           `json:"lost"`
	Duplicates int           `json:"duplicates"`
}

// storedIn is what the day did to a stream or bucket, per notification.
type storedIn struct {
	Name   string  `json:"stream"`
	Writes float64 `json:"messages_stored_per_notification"`
	Kept   float64 `json:"messages_kept_per_notification"`
	Bytes  float64 `json:"bytes_kept_per_notification"`
}

// daySnapshot is what NATS and the dispatcher have done so far.
type daySnapshot struct {
	at               time.Time
	nats, dispatcher time.Duration // CPU
	written          uint64
	streams          []stream.Status
}

func (r *dayRun) snapshot(ctx context.Context) (s daySnapshot, err error) {
	s = daySnapshot{at: time.Now(), nats: r.w.apart.cpu(), dispatcher: child.CPUOf(r.d.PID()), written: r.w.apart.written()}
	s.streams, err = r.w.conn.AskStreams(ctx)
	return s, err
}

// day runs the part that is measured.
func (r *dayRun) day(ctx context.Context) error {
	h, report := r.home, &r.report
	before, err := r.snapshot(ctx)
	if err != nil {
		return err
	}
	receipts, redactions, lagged := h.receipts, h.redactions, h.lagged
	if err := h.live(ctx, r.Events); err != nil {
		return err
	}
	after, err := r.snapshot(ctx)
	if err != nil {
		return err
	}
	report.Notifications = r.Events * r.Fanout
	report.Pokes = report.Notifications - (h.lagged - lagged)
	report.Receipts, report.Redactions = h.receipts-receipts, h.redactions-redactions
	report.took(before, after)
	return nil
}

// took computes the costs from the state before and after.
func (r *dayReport) took(before, after daySnapshot) {
	n := r.Notifications
	r.Rate = perSecond(float64(n), after.at.Sub(before.at))
	r.NATS, r.Dispatcher = cpuEach(after.nats-before.nats, n), cpuEach(after.dispatcher-before.dispatcher, n)
	r.Written = float64(after.written-before.written) / float64(n)
	then := map[string]stream.Status{}
	for _, s := range before.streams {
		then[s.Name] = s
	}
	for _, s := range after.streams {
		if strings.HasPrefix(s.Name, "ROOM") {
			continue // the homeserver's
		}
		b := then[s.Name]
		each := func(now, before uint64) float64 { return (float64(now) - float64(before)) / float64(n) }
		in := storedIn{s.Name, each(s.LastSeq, b.LastSeq), each(s.Messages, b.Messages), each(s.Bytes, b.Bytes)}
		if in.Writes != 0 || in.Kept != 0 {
			r.Stored = append(r.Stored, in)
		}
	}
	slices.SortFunc(r.Stored, func(a, b storedIn) int { return cmp.Compare(b.Writes, a.Writes) })
}

// withoutPost returns the CPU time of a notification at NATS and the dispatcher, without
// what the bare loop needs for the pokes.
func (r *dayReport) withoutPost() float64 {
	return r.NATS + r.Dispatcher - r.bareCPU()*float64(r.Pokes)/float64(r.Notifications)
}

func (r *dayReport) bareCPU() float64 {
	return meanOf(r.Bare, func(s burstSample) float64 { return s.CPU })
}

func (r *dayReport) bareRate() float64 {
	return meanOf(r.Bare, func(s burstSample) float64 { return s.Rate })
}

// Print prints the report as text.
func (r *dayReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { _, _ = fmt.Fprintf(table, name+"\t"+format+"\n", args...) } // Flush returns the error
	n := float64(r.Notifications)
	line("day", "%d events for %d users each of %d: %d notifications, %.2f pokes, %.2f receipts and %.4f redactions each",
		r.Events, r.Fanout, r.Users, r.Notifications, float64(r.Pokes)/n, float64(r.Receipts)/n, float64(r.Redactions)/n)
	line("CPU µs/notification", "NATS %.1f (of that the homeserver's writes %.1f), dispatcher %.1f; bare loop %.1f for each poke",
		r.NATS, r.HomeCPU, r.Dispatcher, r.bareCPU())
	line("without the POST", "%.1f, goal at most %d", r.withoutPost(), dayGoal)
	line("rate", "%.0f notifications/s, bare loop %.0f, ratio %.2f", r.Rate, r.bareRate(), r.Rate/r.bareRate())
	writes, bytes := 0.0, 0.0
	for _, s := range r.Stored {
		writes, bytes = writes+s.Writes, bytes+s.Bytes
		line("  "+s.Name, "%.3f messages stored, %.3f kept, %.0f bytes kept", s.Writes, s.Kept, s.Bytes)
	}
	line("all per notification", "%.3f messages stored, %.0f bytes kept, %.0f bytes written to disk (ROOMS included)", writes, bytes, r.Written)
	line("lagging pushers", "caught up in %s, %d notifications passed over", brief(r.CaughtUp), r.PassedOver)
	line("lost", "%d, twice %d", r.Lost, r.Duplicates)
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// verdict returns an error if a poke was lost or arrived twice.
func (r *dayReport) verdict() error {
	if r.Lost != 0 || r.Duplicates > 0 {
		return fmt.Errorf("%d pokes lost, %d twice", r.Lost, r.Duplicates)
	}
	return nil
}

// recover lets the gateway that was down work again, and waits for its pushers.
func (r *dayRun) recover(ctx context.Context) error {
	r.progress("%d pokes for the gateway that was down", r.home.owedLater)
	began := time.Now()
	if err := r.down.behave(ctx, behaveWell); err != nil {
		return err
	}
	if err := r.d.untilIdle(ctx, r.progress, false); err != nil {
		return err
	}
	r.report.CaughtUp = time.Since(began)
	s, err := r.d.scrape(ctx)
	if err != nil {
		return err
	}
	r.report.PassedOver = int(s.passedOver)
	seen, err := r.down.all(ctx, r.home.owedLater-r.report.PassedOver)
	r.report.Lost += seen.Lost
	r.report.Duplicates += seen.Duplicates
	return err
}
