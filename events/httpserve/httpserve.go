// Package httpserve runs the HTTP servers of poked: the client API, the bridge and the
// operator's port. It bounds how many connections there are and how long each request may
// take.
//
//	Accept ── at most MaxConns ──▶ header ──▶ body ──▶ handler ──▶ answer ──▶ idle ─┐
//	                              5 s         10 s     (its own)   WriteTimeout  2 min │
//	                                ▲                                                │
//	                                └────────────── next request ◀───────────────────┘
//
// # What fails, and how
//
//   - A client stalls within its header or body: the connection is closed after the
//     timeout above. That includes a body that the handler refused: net/http reads it to
//     the end, without any limit if a server has no ReadTimeout. A handler that accepts a
//     slower body sets a later deadline ([http.ResponseController]).
//   - MaxConns is reached: the next connection waits in the kernel's queue until one is
//     closed. From three quarters of MaxConns on, idle connections are closed early, the
//     longest idle first.
//   - The process may open few files: MaxConns is lowered to a quarter of the limit, so
//     that enough are left for the database, the streams and the gateways.
//   - The server is stopped: requests in progress get StopTimeout to finish; the rest are
//     cut off and logged, which is not an error.
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

// Limits shared by all servers.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second // from the first byte of a request to its last
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10

	// fileShare limits one server's connections to 1/fileShare of the files that the
	// process may open.
	fileShare = 4
)

// Config configures a server. All fields are required.
type Config struct {
	Handler http.Handler
	// MaxConns limits concurrent connections. It is lowered if the process may open few
	// files.
	MaxConns int
	// WriteTimeout is the time from the end of a request's header to the end of the
	// answer, unless the handler sets another deadline.
	WriteTimeout time.Duration
	// StopTimeout is how long requests in progress may take once the server is stopped.
	StopTimeout time.Duration
	Log         *slog.Logger
}

// Run serves connections to the listener until ctx ends, and closes the listener. It
// returns nil after a stop, and an error if it can no longer accept connections.
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
		_ = server.Close() // closes the remaining connections
	})
	if err := server.Serve(netutil.LimitListener(listener, conns)); !errors.Is(err, http.ErrServerClosed) {
		stop()
		_ = server.Close() // the error of Serve is returned
		return fmt.Errorf("accept http connections: %w", err)
	}
	<-stopped
	return nil
}

// Connections returns the limit of connections for a port: most, or less if the process
// may open few files.
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
