// Package httpserve runs the HTTP servers of poked: the API for clients, the bridge
// and the operator's port. Whoever connects can hold a connection for a bounded time
// only, and only so many of them.
//
//	Accept ── at most MaxConns ──▶ header ──▶ body ──▶ handler ──▶ answer ──▶ idle ─┐
//	                              5 s         10 s     (its own)   WriteTimeout  2 min │
//	                                ▲                                                │
//	                                └────────────── next request ◀───────────────────┘
//
// # What fails, and how
//
//   - A client stops in the middle of its header or body: the connection ends when the
//     time above is over. That also holds for a body that the handler refused: net/http
//     reads on to the end of it, without any limit if a server has no ReadTimeout. A
//     handler that wants a longer body sets a later deadline for it
//     ([http.ResponseController]).
//   - There are MaxConns connections: the next one waits in the kernel's queue until one
//     of them ends. Before it comes to that, from three quarters on, connections that
//     have nothing to do end early, the one that has been idle for longest first.
//   - The process may open few files: MaxConns is no more than a quarter of them, so that
//     the database, the streams and the gateways keep the rest.
//   - The server is stopped: requests may end within StopTimeout; what is not answered by
//     then is cut off and logged, which is no error.
package httpserve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
)

// Limits that all servers share.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second // from the first byte of a request to its last
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10

	// fileShare is the part of the files that a process may open that one server's
	// connections may take: 1/fileShare.
	fileShare = 4
)

// Config says what a server does. All fields are needed.
type Config struct {
	Handler http.Handler
	// MaxConns is how many connections there may be at the same time. There are fewer if
	// the process may open few files.
	MaxConns int
	// WriteTimeout is the time from the end of a request's header to the end of the
	// answer, unless the handler sets another deadline.
	WriteTimeout time.Duration
	// StopTimeout is how long requests may go on when the server is stopped.
	StopTimeout time.Duration
	Log         *slog.Logger
}

// Run serves what connects to the listener until ctx ends, and closes it. It returns
// nil after a stop, and an error if it can no longer accept connections.
func Run(ctx context.Context, listener net.Listener, cfg Config) error {
	conns := Connections(cfg.MaxConns)
	server := &http.Server{
		Handler:           cfg.Handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,

		WriteTimeout:   cfg.WriteTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ConnState:      newIdlers(conns).follow,
		ErrorLog:       slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.StopTimeout)
		defer cancel()
		if err := server.Shutdown(bounded); err != nil {
			cfg.Log.Warn("http requests were cut off at the stop", "error", err)
		}
		_ = server.Close() // what is left of the connections
	})
	if err := server.Serve(netutil.LimitListener(listener, conns)); !errors.Is(err, http.ErrServerClosed) {
		stop()
		_ = server.Close() // the error that counts is returned
		return fmt.Errorf("accept http connections: %w", err)
	}
	<-stopped
	return nil
}

// Connections returns how many connections a port may have that asks for most.
func Connections(most int) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return most
	}
	share := files.Cur / fileShare
	if share >= uint64(most) { //nolint:gosec // a limit is above 0
		return most
	}
	return max(int(share), 1) //nolint:gosec // it is less than most
}
