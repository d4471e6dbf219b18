// Package page is the operators' page on the port of --ops: what "poked pushers", "gateways",
// "dead" and "trace" tell, in a browser, for the whole deployment.
//
//	browser ──HTTP──▶ access: loopback, or a token ──▶ page ──▶ operate ──▶ NATS
//	   ▲                                                │
//	   └──── server-sent events: parts of a page ◀──────┤ a look every 5 s, shared by all who look
//	                                                    └ rates of the last hour, a sample every 10 s
//
// The pages are rendered here (html/template, embedded) and work without scripts. The one script
// replaces parts of a page by what the server renders anew. Nothing is fetched from elsewhere,
// and the content security policy allows nothing else.
//
// # Who may do what
//
// On a loopback address everybody who reaches the port may look, if the request names a loopback
// host and came through no proxy: another site that a browser visits cannot read it by way of a
// name that it has pointed here (DNS rebinding). Everybody else needs the token of
// --ops-token-file, and so does every action. Without a token there are no actions, and on any
// other address there is no page. An action shows first what it will do, is refused from other
// origins, and is logged and kept in a short history.
//
// No page shows the content of an event or a whole pushkey. Names that users have chosen are
// text, without control characters, and cannot change the direction of what surrounds them.
//
// # What fails, and how
//
//   - NATS is away, or the process has not begun: every page says so, with status 503.
//   - No dispatcher or registry answers: the rest of the page is shown, with what is missing.
//   - NATS does not permit something: the page says that, and names --ops-nats.
//   - A page takes too long: it is given up after pageTimeout. At most maxWork pages that read
//     much are worked on at a time; others wait.
//   - The process stops: an action on many dead letters ends after the one in progress, and its
//     entry of the history is lost with the process.
package page

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"poked/events/stream"
	"poked/events/wait"
)

const (
	pageTimeout = 60 * time.Second // of one page
	maxWork     = 4                // pages that read much, at a time
	// connectPause is the pause between two attempts to connect to NATS.
	connectPause = 10 * time.Second
)

// Config configures the page.
type Config struct {
	// TokenFile holds the token for actions and, unless Loopback is set, for everything. ""
	// means that there is none.
	TokenFile string
	Loopback  bool // the port has a loopback address
	Log       *slog.Logger
}

// Page is the operators' page of one process. It is an http.Handler.
type Page struct {
	cfg     Config
	access  *access
	mux     *http.ServeMux
	views   *views
	history history
	rates   rates
	work    chan struct{} // one place for each page that reads much
	live    chan struct{} // one place for each page that is kept up to date
	flight  singleflight.Group

	conn    atomic.Pointer[stream.Conn] // nil until there is one
	waits   atomic.Pointer[string]      // why there is none
	streams atomic.Pointer[func() []stream.Status]
	look    atomic.Pointer[look] // the newest
	ended   chan struct{}        // closed when Run returns

	mu      sync.Mutex
	jobs    sync.WaitGroup
	running int             // jobs
	ctx     context.Context //nolint:containedctx // of the jobs: they outlive the request that starts them, and Run ends them
}

// New returns a page, or nil if it must not be opened: without a token on an address that is not
// loopback. It fails if the token cannot be read.
func New(cfg Config) (*Page, error) {
	if cfg.TokenFile == "" && !cfg.Loopback {
		return nil, nil //nolint:nilnil // no page is no error
	}
	access, err := newAccess(cfg)
	if err != nil {
		return nil, err
	}
	views, err := parseViews()
	if err != nil {
		return nil, err
	}
	p := &Page{cfg: cfg, access: access, views: views, work: make(chan struct{}, maxWork), live: make(chan struct{}, maxLive), ended: make(chan struct{})}
	p.waitsFor("poked is starting")
	p.route()
	return p, nil
}

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.access.secure(w)
	p.mux.ServeHTTP(w, r)
}

// RereadToken reads the token file again.
func (p *Page) RereadToken() error { return p.access.reread() }

func (p *Page) waitsFor(what string) { p.waits.Store(&what) }

// Run connects to NATS, again and again until that works, and samples what the dispatchers do,
// until ctx ends. streams returns the state of the streams.
func (p *Page) Run(ctx context.Context, cfg stream.Config, streams func() []stream.Status) {
	defer close(p.ended)
	p.streams.Store(&streams)
	conn := p.connect(ctx, cfg)
	if conn == nil {
		return
	}
	defer func() { _ = conn.Close() }() // everything written was acknowledged
	defer p.conn.Store(nil)
	jobs, stop := context.WithCancel(ctx)
	p.mu.Lock()
	p.ctx = jobs
	p.mu.Unlock()
	defer p.jobs.Wait()
	defer p.noMoreJobs()
	defer stop()
	p.conn.Store(conn)
	p.sample(ctx, conn)
}

func (p *Page) noMoreJobs() {
	p.waitsFor("poked is stopping")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx = nil
}

// connect returns a connection that has joined the streams, or nil when ctx ends.
func (p *Page) connect(ctx context.Context, cfg stream.Config) *stream.Conn {
	for ctx.Err() == nil {
		conn, err := stream.Connect(ctx, cfg)
		if err == nil {
			if err = conn.Join(ctx); err == nil {
				return conn
			}
			_ = conn.Close() // nothing was written
		}
		if ctx.Err() == nil {
			p.waitsFor("there is no connection to NATS for the page: " + err.Error())
			p.cfg.Log.Warn("the operators' page has no connection to nats, trying again", "error", err)
		}
		_ = wait.For(ctx, connectPause) // the loop looks at ctx
	}
	return nil
}

// errBusy is the reason of a page that was not worked on.
var errBusy = errors.New("other pages are being worked on: try again in a moment")

// heavy waits for its turn to work on a page that reads much. The caller calls done.
func (p *Page) heavy(ctx context.Context) (done func(), err error) {
	select {
	case p.work <- struct{}{}:
		return func() { <-p.work }, nil
	case <-ctx.Done():
		return nil, errBusy
	}
}
