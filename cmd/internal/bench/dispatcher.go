package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"poked/cmd/internal/child"
	"poked/events/stream"
	"poked/events/wait"
)

// unlimited is a --catch-up-limit that no pusher reaches.
const unlimited = math.MaxInt32

// dispatcherProcess returns a dispatcher for this world in a separate process. It lets no
// pusher skip a notification unless flags say otherwise.
func (w *world) dispatcherProcess(name string, flags ...string) *child.Process {
	return &child.Process{
		Name: name, Log: filepath.Join(w.dir, "dispatchers.log"),
		Args: child.Poked(append([]string{
			"dispatcher", "--nats", w.url(), "--catch-up-limit", strconv.Itoa(unlimited),
			"--gateway-allow", child.Host, "--gateway-allow-http", "--log-level=warn",
		}, flags...)...),
	}
}

// watched is a dispatcher in a separate process, with an open operator's port.
type watched struct {
	*child.Process

	ops    string // URL
	client http.Client
}

// watchedDispatcher starts a dispatcher for this world, and returns when it owns every
// partition.
func (w *world) watchedDispatcher(ctx context.Context, flags ...string) (*watched, error) {
	ports, err := child.FreePorts(1)
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort(child.Host, strconv.Itoa(ports[0]))
	d := &watched{
		Process: w.dispatcherProcess("dispatcher", append(flags, "--ops", addr)...),
		ops:     "http://" + addr, client: http.Client{Timeout: time.Second},
	}
	if err := d.Start(); err != nil {
		return nil, err
	}
	if err := d.untilReady(ctx); err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

// startPatience is how long a dispatcher may take to own every partition.
const startPatience = time.Minute

func (d *watched) untilReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("the dispatcher does not own every partition after %s", startPatience))
	defer cancel()
	for {
		if s, err := d.scrape(ctx); err == nil && s.owned == 2*stream.DefaultPartitions {
			return nil
		}
		if err := wait.For(ctx, sampleEvery); err != nil {
			return err
		}
	}
}

// untilIdle returns when the dispatcher has nothing left to do, or nothing but for pushers
// that lag. It fails if nothing changes for long.
func (d *watched) untilIdle(ctx context.Context, progress func(string, ...any), butLagging bool) error {
	last, changed, told := -1.0, time.Now(), time.Now()
	for {
		s, err := d.scrape(ctx)
		if err != nil {
			return err
		}
		if butLagging {
			s.lagging = 0
		}
		now := s.left()
		switch {
		case now == 0:
			return nil
		case now != last:
			last, changed = now, time.Now()
		case time.Since(changed) > settlePatience:
			return fmt.Errorf("no progress: %.0f room events, %.0f notifications and %.0f lagging pushers are left", s.toMatch, s.toDeliver, s.lagging)
		}
		if time.Since(told) >= time.Second {
			told = time.Now()
			progress("%.0f room events, %.0f notifications and %.0f lagging pushers to go", s.toMatch, s.toDeliver, s.lagging)
		}
		if err := wait.For(ctx, sampleEvery); err != nil {
			return err
		}
	}
}

// scraped is what a dispatcher's metrics say. All count from its start.
type scraped struct {
	owned      float64 // partitions of both stages
	roomEvents float64 // processed by match
	toMatch    float64 // room events that match has not processed
	toDeliver  float64 // notifications that are not done
	lagging    float64 // pushers
	passedOver float64 // notifications
}

// left returns how much is left to do.
func (s *scraped) left() float64 { return s.toMatch + s.toDeliver + s.lagging }

// scrape reads the metrics.
func (d *watched) scrape(ctx context.Context) (s scraped, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.ops+"/metrics", nil)
	if err != nil {
		return s, fmt.Errorf("ask dispatcher: %w", err)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return s, fmt.Errorf("ask dispatcher: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	return parseScrape(resp.Body)
}

func parseScrape(body io.Reader) (s scraped, err error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(body)
	if err != nil {
		return s, fmt.Errorf("read metrics: %w", err)
	}
	sum := func(name, stage string) (total float64) {
		for _, m := range families["poked_"+name].GetMetric() {
			counts := stage == ""
			for _, label := range m.GetLabel() {
				counts = counts || label.GetName() == "stage" && label.GetValue() == stage
			}
			if counts {
				total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
		return total
	}
	return scraped{
		owned:      sum("partition_owned", "match") + sum("partition_owned", "deliver"),
		roomEvents: sum("room_events_total", ""),
		toMatch:    sum("partition_waiting_messages", "match") + sum("partition_open_messages", "match"),
		toDeliver:  sum("partition_waiting_messages", "deliver") + sum("partition_open_messages", "deliver"),
		lagging:    sum("pushers_lagging", ""),
		passedOver: sum("notifications_passed_over_total", ""),
	}, nil
}
