package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
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
}

// sinkTally counts pokes.
type sinkTally struct {
	seed maphash.Seed

	mu         sync.Mutex
	seen       map[uint64]struct{} // digests of event and pushkey
	latencies  []time.Duration
	duplicates int
	badges     int
	last       int64
}

// Run serves until standard input ends.
func (sinkCmd) Run(ctx context.Context, std terminal.Streams) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	tally := &sinkTally{seed: maphash.MakeSeed(), seen: map[uint64]struct{}{}}
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
		t.badges++
		return
	}
	if _, again := t.seen[p.key]; again {
		t.duplicates++
		return
	}
	t.seen[p.key] = struct{}{}
	t.last = now
	if timed {
		t.latencies = append(t.latencies, time.Duration(now-p.sentAt))
	}
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
	r := sinkReport{
		Received: len(t.seen), Duplicates: t.duplicates, Badges: t.badges, Last: t.last, P50: at(50), P99: at(99), Max: at(100),
	}
	clear(t.seen)
	t.latencies, t.duplicates, t.badges = t.latencies[:0], 0, 0
	return r
}

// sinkProcess is the process of a sink that this one started.
type sinkProcess struct {
	url   string
	cmd   *exec.Cmd
	stdin io.Closer
}

// startSink starts a hidden subcommand of this program as a separate process, whose first
// line on standard output is its URL.
func startSink(ctx context.Context, args ...string) (*sinkProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start sink: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, args...) //nolint:gosec // it is this program
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start sink: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start sink: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start sink: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start sink: it printed no URL: %w", err)
	}
	return &sinkProcess{url: strings.TrimSpace(line), cmd: cmd, stdin: stdin}, nil
}

func (s *sinkProcess) stop() {
	_ = s.stdin.Close() // it ends with its input
	_ = s.cmd.Wait()
}

// await returns when the sink has received n pokes, or no more arrive.
func (s *sinkProcess) await(ctx context.Context, n int) error {
	const patience = 10 * time.Second
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
		if seen >= n || time.Since(progress) > patience {
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
