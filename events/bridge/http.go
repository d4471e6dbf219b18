package bridge

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/httpserve"
)

// Limits of a transaction. Known homeservers send at most a hundred events of 64 KiB, and
// one transaction at a time; a few more may overlap after a timeout on their side.
const (
	maxBodyBytes = 64 << 20
	maxBodies    = 8 // in memory
	bodyTimeout  = time.Minute

	// refusedTimeout is how long the rest of a body may take of which nobody reads more: without
	// the token a request holds a connection no longer.
	refusedTimeout = time.Second
)

// problem is a Matrix error: the answer to a request that failed.
type problem struct {
	status  int
	errcode string
	message string
}

func (p *problem) Error() string { return p.errcode + ": " + p.message }

// Handler returns the application service. A transaction is stored until ctx ends, even
// if the homeserver disconnects: it will repeat the transaction, which is then already
// stored.
func (b *Bridge) Handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	for _, prefix := range []string{"/_matrix/app/v1", ""} { // current and legacy paths
		mux.HandleFunc("PUT "+prefix+"/transactions/{txnId}", b.authorized(func(w http.ResponseWriter, r *http.Request) error {
			return b.transact(ctx, w, r)
		}))
		// All users are the homeserver's own, and no room is ours.
		mux.HandleFunc("GET "+prefix+"/users/{userId}", b.authorized(notFound))
		mux.HandleFunc("GET "+prefix+"/rooms/{alias}", b.authorized(notFound))
	}
	mux.HandleFunc("POST /_matrix/app/v1/ping", b.authorized(done))
	mux.HandleFunc("POST /_matrix/app/unstable/fi.mau.msc2659/ping", b.authorized(done))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, &problem{http.StatusNotFound, "M_UNRECOGNIZED", "unknown path, or method not allowed there"})
	})
	return mux
}

func notFound(http.ResponseWriter, *http.Request) error {
	return &problem{http.StatusNotFound, "M_NOT_FOUND", "there is no such user or room here"}
}

func done(http.ResponseWriter, *http.Request) error { return nil }

// authorized calls handle only for requests with the hs_token.
func (b *Bridge) authorized(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := b.authorize(r)
		if err == nil {
			err = handle(w, r)
		} else {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(refusedTimeout)) // or the server's own holds
		}
		var p *problem
		if errors.As(err, &p) {
			b.counts.refuse(p.status)
		}
		answer(w, err)
	}
}

// authorize compares digests of tokens, so that the time does not depend on how much of a
// guessed token is right. Old servers send the token in the query.
func (b *Bridge) authorize(r *http.Request) error {
	token, query, err := httpserve.Tokens(r)
	if err != nil {
		return &problem{http.StatusBadRequest, "M_INVALID_PARAM", err.Error()}
	}
	if token = cmp.Or(token, query); token == "" {
		return &problem{http.StatusUnauthorized, "M_MISSING_TOKEN", "missing hs_token: send it in the header Authorization: Bearer"}
	}
	have, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(b.registration.HSToken))
	if subtle.ConstantTimeCompare(have[:], want[:]) != 1 {
		b.log.Warn("request refused: its token is not the registration's hs_token")
		return &problem{http.StatusForbidden, "M_FORBIDDEN", "this is not the hs_token of the registration"}
	}
	return nil
}

// transact reads one transaction and stores it when its turn has come.
func (b *Bridge) transact(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	if !take(r.Context(), b.bodies) {
		return errBusy()
	}
	defer func() { <-b.bodies }()
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	if !take(r.Context(), b.turn) {
		return errBusy()
	}
	defer func() { <-b.turn }()
	t, err := parseTransaction(body, r.Header.Get(events.HeaderTraceParent))
	if err != nil {
		b.log.Warn("malformed transaction refused", "error", err, "bytes", len(body))
		return err
	}
	if err := b.store(ctx, t); err != nil {
		b.log.Warn("transaction not stored, the homeserver will send it again", "error", err)
		return unstored(err)
	}
	b.counts.transactions.Add(1)
	b.counts.last.Store(time.Now().UnixNano())
	b.log.Debug("transaction stored", "rooms", len(t.rooms), "bytes", len(body))
	return nil
}

// take acquires a place in a semaphore. It returns false if ctx ends first.
func take(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func errBusy() error {
	return &problem{http.StatusServiceUnavailable, "M_UNKNOWN", "the transaction before this one is still being stored"}
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// Fails only on a server without deadlines, as in some tests.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return nil, &problem{http.StatusRequestEntityTooLarge, "M_TOO_LARGE", "a transaction must have at most " + strconv.Itoa(maxBodyBytes) + " bytes"}
	}
	if err != nil {
		return nil, &problem{http.StatusBadRequest, "M_NOT_JSON", "the request body ended too early"}
	}
	return body, nil
}

// unstored returns the answer for a transaction that was not stored.
func unstored(err error) error {
	if errors.Is(err, homeserver.ErrCannotTell) {
		return &problem{http.StatusBadGateway, "M_UNKNOWN", "the homeserver did not return the state of a room, which is needed to store its events; send this again"}
	}
	return &problem{http.StatusServiceUnavailable, "M_UNKNOWN", "the events cannot be stored at the moment, send them again"}
}

// answer writes {} or an error. That may be long after the request arrived, so it sets a
// new deadline.
func answer(w http.ResponseWriter, err error) {
	// Fails only on a server without deadlines, as in some tests.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "application/json")
	var p *problem
	if err == nil {
		_, _ = io.WriteString(w, "{}") // a homeserver that disconnected sends it again
		return
	}
	if !errors.As(err, &p) {
		p = &problem{http.StatusInternalServerError, "M_UNKNOWN", "internal error"}
	}
	w.WriteHeader(p.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"errcode": p.errcode, "error": p.message})
}
