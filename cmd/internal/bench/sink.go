package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"poked/cmd/internal/terminal"
	"poked/events/pushgateway"
)

// sinkCmd is the gateway of a benchmark, in a separate process. It prints its URL on standard
// output, answers every poke, and ends with its standard input.
type sinkCmd struct{}

// sinkReport is what a sink received since the last report.
type sinkReport struct {
	Received   int           `json:"received"`
	Duplicates int           `json:"duplicates"`
	Badges     int           `json:"badges"` // badge-only pushes, which no other field counts
	Last       int64         `json:"last"`   // when the last poke arrived, nanoseconds since the Unix epoch
	P50        time.Duration `json:"p50"`    // from sent_at in the event's content to arrival
	P99        time.Duration `json:"p99"`
	Max        time.Duration `json:"max"`

	// Pokes that arrived more than lateAfter after they were sent: how many, when the first
	// and the last of them arrived, and the latency of the last poke of all.
	Late        int           `json:"late"`
	LateFrom    int64         `json:"late_from"`
	LateUntil   int64         `json:"late_until"`
	LastLatency time.Duration `json:"last_latency"`

	// Repeated has, for each duplicate, when the poke had arrived before.
	Repeated []int64 `json:"repeated,omitempty"`
}

// lateAfter is the latency from which a poke counts as late.
const lateAfter = time.Second

// sinkTally counts pokes.
type sinkTally struct {
	seed maphash.Seed

	mu        sync.Mutex
	seen      map[uint64]int64 // when it arrived, by the digest of event and pushkey
	latencies []time.Duration
	counted   sinkReport // all but what seen and latencies contain
}

// Run serves until standard input ends.
func (sinkCmd) Run(ctx context.Context, std terminal.Streams) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	tally := &sinkTally{seed: maphash.MakeSeed(), seen: map[uint64]int64{}}
	server := &fasthttp.Server{Handler: tally.serve, NoDefaultServerHeader: true}
	if _, err := fmt.Fprintf(std.Out, "http://%s\n", listener.Addr()); err != nil {
		return fmt.Errorf("print address of the sink: %w", err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }() // ends with the listener
	_, _ = io.Copy(io.Discard, std.In)
	return errors.Join(listener.Close(), <-served)
}

func (t *sinkTally) serve(ctx *fasthttp.RequestCtx) {
	switch string(ctx.Path()) {
	case pushgateway.NotifyPath:
		t.add(ctx.PostBody(), time.Now().UnixNano())
		ctx.SetContentType("application/json")
		ctx.SetBodyString(`{"rejected":[]}`)
	case "/count":
		t.mu.Lock()
		ctx.SetBodyString(strconv.Itoa(len(t.seen)))
		t.mu.Unlock()
	case "/report":
		ctx.SetBody(t.report())
	default:
		ctx.SetStatusCode(http.StatusNotFound)
	}
}

func (t *sinkTally) add(body []byte, now int64) {
	p := t.parse(body)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(p, now, true)
}

// sinkPoke is what a sink keeps of a poke.
type sinkPoke struct {
	badge  bool   // badge-only push, without an event
	key    uint64 // digest of event and pushkey
	pusher uint64 // digest of the pushkey
	sentAt int64  // nanoseconds since the Unix epoch
	pushed bool   // it is for a browser
}

func (t *sinkTally) parse(body []byte) sinkPoke {
	fields := gjson.GetManyBytes(body, "notification.event_id", "notification.devices.0.pushkey", "notification.content.sent_at")
	var h maphash.Hash
	h.SetSeed(t.seed)
	_, _ = h.WriteString(fields[1].Str)
	p := sinkPoke{pusher: h.Sum64(), sentAt: fields[2].Int(), badge: fields[0].Str == ""}
	_, _ = h.WriteString(fields[0].Str)
	p.key = h.Sum64()
	return p
}

// count counts a poke, and its latency if timed. Duplicates of badge-only pushes are not
// detected. The caller holds the mutex.
func (t *sinkTally) count(p sinkPoke, now int64, timed bool) {
	if p.badge {
		t.counted.Badges++
		return
	}
	if before, again := t.seen[p.key]; again {
		t.counted.Duplicates++
		t.counted.Repeated = append(t.counted.Repeated, before)
		return
	}
	latency := time.Duration(now - p.sentAt)
	t.seen[p.key], t.counted.Last, t.counted.LastLatency = now, now, latency
	if timed {
		t.latencies = append(t.latencies, latency)
	}
	if latency > lateAfter {
		t.counted.late(now)
	}
}

// late counts a late poke.
func (r *sinkReport) late(now int64) {
	if r.Late == 0 {
		r.LateFrom = now
	}
	r.Late, r.LateUntil = r.Late+1, now
}

// report returns the report as JSON and resets the counts.
func (t *sinkTally) report() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	raw, err := json.Marshal(t.take())
	if err != nil { // cannot happen for numbers
		return nil
	}
	return raw
}

// take returns the report and resets the counts. The caller holds the mutex.
func (t *sinkTally) take() sinkReport {
	slices.Sort(t.latencies)
	at := func(percent int) time.Duration {
		if len(t.latencies) == 0 {
			return 0
		}
		return t.latencies[(len(t.latencies)-1)*percent/100]
	}
	r := t.counted
	r.Received, r.P50, r.P99, r.Max = len(t.seen), at(50), at(99), at(100)
	clear(t.seen)
	t.latencies, t.counted = t.latencies[:0], sinkReport{}
	return r
}

// sinkProcess is the process of a sink that this one started.
type sinkProcess struct{ *process }

// startSink starts a hidden subcommand of this program that answers pokes, and requests
// about them, at the URL that it prints.
func startSink(ctx context.Context, args ...string) (*sinkProcess, error) {
	p, err := startProcess(ctx, args...)
	return &sinkProcess{p}, err
}

// patience is how long no poke may arrive, though no process has anything to do, before the missing ones count
// as lost.
const patience = 10 * time.Second

// await returns when the sink has received n pokes, or none for settlePatience: a busy machine may stand still for
// seconds.
func (s *sinkProcess) await(ctx context.Context, n int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for seen, progress := -1, time.Now(); ; {
		var now int
		if err := s.get(ctx, "/count", &now); err != nil {
			return err
		}
		if now != seen {
			seen, progress = now, time.Now()
		}
		if seen >= n || time.Since(progress) > settlePatience {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (s *sinkProcess) report(ctx context.Context) (sinkReport, error) {
	var r sinkReport
	return r, s.get(ctx, "/report", &r)
}

func (s *sinkProcess) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return fmt.Errorf("ask sink: %w", err)
	}
	client := http.Client{Timeout: 30 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask sink: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("ask sink: %w", err)
	}
	return nil
}
