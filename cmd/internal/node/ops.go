package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"poked/events/httpserve"
)

// The operator's port of a role, over HTTP:
//
//	/livez         200 while the process answers
//	/readyz        200 while it does all of its work, else 503 with a line for each reason
//	/metrics       for Prometheus; the names are in metrics.go
//	/debug/pprof/  profiles of the Go runtime, on a loopback address only
//
// It opens before everything else, so /readyz can show what a starting role waits for. It
// has no password: choose an address that only operators can reach. It exposes no user,
// room, gateway or secret.

// OpsFlags configure the operator's port.
type OpsFlags struct {
	Addr string `name:"ops" env:"POKED_OPS" placeholder:"ADDR" help:"Address of the operator's port, such as 127.0.0.1:8723: /livez, /readyz, /metrics and, on a loopback address only, /debug/pprof/. It has no password. By default it is closed."`
}

// Validate is called by kong.
func (f OpsFlags) Validate() error {
	if f.Addr == "" {
		return nil
	}
	if _, _, err := SplitAddr(f.Addr); err != nil {
		return errors.New("--ops must be an address such as 127.0.0.1:8723")
	}
	return nil
}

// Limits of the port, beside those of package httpserve.
const (
	opsWriteTimeout = 2 * time.Minute // a profile takes 30 s
	opsStopTimeout  = time.Second
	opsMaxConns     = 32
	opsMaxRequests  = 4 // concurrent requests at /metrics
)

// Ops is the operator's port. Without an address it does not listen.
type Ops struct {
	metrics  *prometheus.Registry
	listener net.Listener // nil without an address
	stop     context.CancelFunc
	ended    chan struct{} // closed when the server has stopped

	mu       sync.Mutex
	starting string          // why a starting process waits, "" once it is ready
	checks   []func() string // each returns why an actor is not ready, or ""
}

// OpenOps opens the port, if one is configured.
func OpenOps(ctx context.Context, flags OpsFlags, log *slog.Logger) (*Ops, error) {
	o := &Ops{metrics: prometheus.NewRegistry(), starting: "starting", ended: make(chan struct{})}
	o.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newProcessMetrics(o))
	if flags.Addr == "" {
		return o, nil
	}
	var err error
	if o.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", flags.Addr); err != nil {
		return nil, fmt.Errorf("open operator's port: %w", err)
	}
	log.Info("the operator's port is open", o.Where()...)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // serves until everything else has stopped
	o.stop = stop
	go func() { // Close ends it and waits for it
		defer close(o.ended)
		err := httpserve.Run(serving, o.listener, httpserve.Config{
			Handler: o.handler(isLoopback(o.listener.Addr())), MaxConns: opsMaxConns,
			WriteTimeout: opsWriteTimeout, StopTimeout: opsStopTimeout, Log: log,
		})
		if err != nil {
			log.Error("the operator's port failed and is closed", "error", err)
		}
	}()
	return o, nil
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func (o *Ops) handler(profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", o.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.metrics, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: opsMaxRequests,
	}))
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	}
	return mux
}

func answer(w http.ResponseWriter, status int, lines ...string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, strings.Join(lines, "\n")) // the client may be gone
}

func (o *Ops) readyz(w http.ResponseWriter, _ *http.Request) {
	if reasons := o.reasons(); len(reasons) > 0 {
		answer(w, http.StatusServiceUnavailable, reasons...)
		return
	}
	answer(w, http.StatusOK, "ready")
}

// reasons returns why the process is not ready.
func (o *Ops) reasons() (reasons []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.starting != "" {
		reasons = append(reasons, o.starting)
	}
	for _, check := range o.checks {
		if why := check(); why != "" {
			reasons = append(reasons, why)
		}
	}
	return reasons
}

// waitsFor sets the reason why the starting process waits; "" means that it is ready.
func (o *Ops) waitsFor(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.starting = what
}

// watch adds the readiness check and the metrics of an actor.
func (o *Ops) watch(a Actor) error {
	if a.metrics != nil {
		if err := o.metrics.Register(a.metrics); err != nil {
			return fmt.Errorf("register metrics of %s: %w", a.Name, err)
		}
	}
	if a.unready != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.checks = append(o.checks, a.unready)
	}
	return nil
}

// Where returns the address of the port as log attributes for the ready line.
func (o *Ops) Where() []any {
	if o.listener == nil {
		return nil
	}
	return []any{"ops", o.listener.Addr().String()}
}

// Close closes the port.
func (o *Ops) Close() {
	if o.stop == nil {
		return
	}
	o.stop()
	<-o.ended
}
