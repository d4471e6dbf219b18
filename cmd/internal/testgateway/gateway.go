// Package testgateway is a push gateway for trying things out: it accepts pokes of the Matrix
// Push Gateway API, passes each one to its owner before it answers, and forwards nothing to a
// phone. poked demo checks the pokes that arrive here, poked gateway prints them.
//
//	POST /_matrix/push/v1/notify ──▶ read ──▶ Parse ──▶ take ──▶ answer
//
// # What fails, and how
//
//   - A body that is no notification for at least one device: 400 with M_NOT_JSON,
//     M_BAD_JSON or M_MISSING_PARAM; one of more than 1 MiB: 413 with M_TOO_LARGE.
//   - Another path or method: 404 or 405 with M_UNRECOGNIZED.
//   - The owner fails: 503, and the gateway ends with the owner's error.
package testgateway

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"poked/events/httpserve"
	"poked/events/pushgateway"
)

const (
	// maxBodyBytes is more than any poke of an event of 64 KiB has.
	maxBodyBytes = 1 << 20
	maxConns     = 4096
	writeTimeout = 30 * time.Second
	stopTimeout  = 5 * time.Second
)

// Answer is the gateway's answer to one request.
type Answer struct {
	Status   int           // 0 means 200
	ErrCode  string        // of an answer that is not 2xx
	Error    string        // text of ErrCode
	Rejected []string      // pushkeys that no longer exist, in an answer that is 2xx
	Retry    time.Duration // Retry-After; 0 for none
}

// Taker takes one request and returns the answer. It is called concurrently, but for the
// requests of one pusher one after the other, because poked waits for each answer. The
// gateway ends with the error, if there is one.
type Taker func(ctx context.Context, p *Poke) (Answer, error)

// Gateway is a push gateway that listens.
type Gateway struct {
	listener net.Listener
	scheme   string // of URL
}

// Listen opens a gateway at an address. It answers no request before Run.
func Listen(ctx context.Context, addr string) (*Gateway, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen as push gateway: %w", err)
	}
	return &Gateway{listener: listener, scheme: "http"}, nil
}

// ServeTLS makes the gateway speak TLS. Call it before Run.
func (g *Gateway) ServeTLS(certificate tls.Certificate) {
	g.listener = tls.NewListener(g.listener, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	g.scheme = "https"
}

// Addr returns the address at which the gateway listens.
func (g *Gateway) Addr() net.Addr { return g.listener.Addr() }

// URL returns the data.url of a pusher for this gateway.
func (g *Gateway) URL() string { return g.scheme + "://" + g.Addr().String() + pushgateway.NotifyPath }

// Close closes the listener, if Run has not.
func (g *Gateway) Close() error {
	if err := g.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stop listening: %w", err)
	}
	return nil
}

// Run serves until ctx ends or take fails.
func (g *Gateway) Run(ctx context.Context, log *slog.Logger, take Taker) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	failed := make(chan error, 1) // the first error of take
	mux := http.NewServeMux()
	mux.HandleFunc(pushgateway.NotifyPath, func(w http.ResponseWriter, r *http.Request) {
		answer, err := notify(ctx, w, r, take)
		if err != nil {
			select {
			case failed <- err:
			default:
			}
			end(err)
			answer = Answer{Status: http.StatusServiceUnavailable, ErrCode: "M_UNKNOWN", Error: "the gateway stops"}
		}
		answer.write(w)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		Answer{Status: http.StatusNotFound, ErrCode: "M_UNRECOGNIZED", Error: "a push gateway has only " + pushgateway.NotifyPath}.write(w)
	})
	err := httpserve.Run(ctx, g.listener, httpserve.Config{
		Handler: mux, MaxConns: maxConns, WriteTimeout: writeTimeout, StopTimeout: stopTimeout, Log: log,
	})
	select {
	case failure := <-failed:
		return errors.Join(failure, err)
	default:
		return err
	}
}

// notify takes one request.
func notify(ctx context.Context, w http.ResponseWriter, r *http.Request, take Taker) (Answer, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return Answer{Status: http.StatusMethodNotAllowed, ErrCode: "M_UNRECOGNIZED", Error: "a poke is a POST"}, nil
	}
	at := time.Now()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if errors.As(err, new(*http.MaxBytesError)) {
		return Answer{Status: http.StatusRequestEntityTooLarge, ErrCode: "M_TOO_LARGE", Error: "the poke is larger than 1 MiB"}, nil
	}
	if err != nil { // the sender hung up, or is too slow
		return Answer{Status: http.StatusBadRequest, ErrCode: "M_NOT_JSON", Error: "the body ended early"}, nil //nolint:nilerr // it is the sender's
	}
	return take(ctx, Parse(at, body))
}

// write writes the answer. A sender that hung up retries.
func (a Answer) write(w http.ResponseWriter) {
	var body any = map[string]any{"rejected": append([]string{}, a.Rejected...)}
	if a.Status == 0 {
		a.Status = http.StatusOK
	}
	if a.Status >= http.StatusMultipleChoices {
		body = map[string]string{"errcode": a.ErrCode, "error": a.Error}
	}
	w.Header().Set("Content-Type", "application/json")
	if a.Retry > 0 {
		w.Header().Set("Retry-After", fmt.Sprintf("%.0f", a.Retry.Seconds()))
	}
	w.WriteHeader(a.Status)
	raw, _ := json.Marshal(body) // strings only
	_, _ = w.Write(raw)
}
