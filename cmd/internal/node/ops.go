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

	"poked/cmd/internal/page"
	"poked/events/httpserve"
	"poked/events/stream"
)

// The operator's port of a role, over HTTP:
//
//	/livez         200 while the process answers
//	/readyz        200 while it does all of its work, else 503 with a line for each reason
//	/metrics       for Prometheus; the names are in metrics.go
//	/debug/pprof/  profiles of the Go runtime, on a loopback address only
//	/              the operators' page, of the whole deployment: see package page
//
// It opens before everything else, so /readyz can show what a starting role waits for. It
// has no password but that of the page: choose an address that only operators can reach. The
// page alone exposes users, rooms and gateways, on a loopback address or with a token.

// OpsFlags configure the operator's port.
type OpsFlags struct {
	Addr      string `name:"ops" env:"POKED_OPS" placeholder:"ADDR" help:"Address of the operator's port, such as 127.0.0.1:8723: /livez, /readyz, /metrics, the operators' page and, on a loopback address only, /debug/pprof/. Without --ops-token-file the page is read-only, and only open on a loopback address. By default the port is closed."`
	TokenFile string `name:"ops-token-file" type:"path" env:"POKED_OPS_TOKEN_FILE" placeholder:"FILE" help:"File with a token of at least 16 characters for the operators' page. Actions need it and, on an address that is not loopback, everything on the page. SIGHUP rereads it."`
	NATS      string `name:"ops-nats" env:"POKED_OPS_NATS" placeholder:"URL,..." help:"NATS for the operators' page, with the user and password of an operator, if the process's own user does not have an operator's permissions. By default as the process."`
	NATSCreds string `name:"ops-nats-creds" type:"path" env:"POKED_OPS_NATS_CREDS" placeholder:"FILE" help:"Credentials of an operator for --ops-nats: a .creds file, or the seed of an nkey."`
}

// Validate is called by kong.
func (f OpsFlags) Validate() error {
	switch {
	case f.Addr == "" && f.TokenFile+f.NATS+f.NATSCreds != "":
		return errors.New("--ops-token-file, --ops-nats and --ops-nats-creds need --ops")
	case f.Addr == "":
		return nil
	case f.NATS == "" && f.NATSCreds != "":
		return errors.New("--ops-nats-creds needs --ops-nats")
	case f.NATS != "":
		if CheckNATS(f.NATS) != nil {
			return errors.New("--ops-nats must be URLs such as nats://host:4222, separated by commas")
		}
	}
	if _, _, err := SplitAddr(f.Addr); err != nil {
		return errors.New("--ops must be an address such as 127.0.0.1:8723")
	}
	return nil
}

// Check reads the files that the flags name, and returns why the port could not be opened with
// them.
func (f OpsFlags) Check() error {
	if f.TokenFile != "" {
		if _, err := page.ReadToken(f.TokenFile); err != nil {
			return fmt.Errorf("--ops-token-file: %w", err)
		}
	}
	if f.NATSCreds != "" {
		if err := (stream.Credentials{Creds: f.NATSCreds}).Check(); err != nil {
			return fmt.Errorf("--ops-nats-creds: %w", err)
		}
	}
	return nil
}

// pageNATS returns how the page reaches NATS: as the process does, or as an operator.
func (f OpsFlags) pageNATS(own stream.Config) stream.Config {
	own.Name += " page"
	if f.NATS != "" {
		own.URL, own.InProcess = f.NATS, nil
		own.Credentials.Creds = f.NATSCreds
	}
	return own
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
	flags    OpsFlags
	page     *page.Page   // nil without an address, and where it may not be opened
	listener net.Listener // nil without an address
	stop     context.CancelFunc
	ended    chan struct{} // closed when the server has stopped

	mu       sync.Mutex
	starting string          // why a starting process waits, "" once it is ready
	checks   []func() string // each returns why an actor is not ready, or ""
}

// OpenOps opens the port, if one is configured.
func OpenOps(ctx context.Context, flags OpsFlags, log *slog.Logger) (*Ops, error) {
	o := &Ops{metrics: prometheus.NewRegistry(), flags: flags, starting: "starting", ended: make(chan struct{})}
	o.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newProcessMetrics(o))
	if flags.Addr == "" {
		return o, nil
	}
	var err error
	if o.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", flags.Addr); err != nil {
		return nil, fmt.Errorf("open operator's port: %w", err)
	}
	if err := o.openPage(log); err != nil {
		return nil, errors.Join(err, o.listener.Close())
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

// openPage makes the operators' page, if it may be opened at the address.
func (o *Ops) openPage(log *slog.Logger) (err error) {
	loopback := isLoopback(o.listener.Addr())
	if o.page, err = page.New(page.Config{TokenFile: o.flags.TokenFile, Loopback: loopback, Log: log}); err != nil {
		return fmt.Errorf("open the operators' page: %w", err)
	}
	if o.page == nil {
		log.Info("the operators' page stays closed: the port is not on a loopback address, and there is no --ops-token-file", o.Where()...)
	}
	return nil
}

// pageActor returns the actor that answers what the page asks. There must be a page.
func (o *Ops) pageActor(conn *stream.Conn, own stream.Config) Actor {
	return Actor{Name: "page", reread: o.page.RereadToken, Run: func(ctx context.Context) error {
		o.page.Run(ctx, o.flags.pageNATS(own), conn.Streams)
		return nil
	}}
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
	if o.page != nil {
		mux.Handle("/", o.page)
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
