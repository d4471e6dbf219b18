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

	"poked/events/homeserver"
	"poked/events/httpserve"
)

// What a transaction may take. The homeservers that are known send a hundred events
// of 64 KiB at most, and one transaction after the other; a few more come beside it if
// they no longer wait for those before.
const (
	maxBodyBytes = 64 << 20
	maxBodies    = 8 // in memory
	bodyTimeout  = time.Minute
)

// problem is why a request was not done: an answer in Matrix' form.
type problem struct {
	status  int
	errcode string
	message string
}

func (p *problem) Error() string { return p.errcode + ": " + p.message }

// Handler returns the application service. Work that was begun goes on until ctx
// ends, whether its homeserver still waits or not: it repeats what was not answered,
// and will find it done.
func (b *Bridge) Handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	for _, prefix := range []string{"/_matrix/app/v1", ""} { // today's and the legacy paths
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
		answer(w, &problem{http.StatusNotFound, "M_UNRECOGNIZED", "there is nothing at this path, or not with this method"})
	})
	return mux
}

func notFound(http.ResponseWriter, *http.Request) error {
	return &problem{http.StatusNotFound, "M_NOT_FOUND", "there is no such user or room here"}
}

func done(http.ResponseWriter, *http.Request) error { return nil }

// authorized lets the homeserver in and nobody else.
func (b *Bridge) authorized(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := b.authorize(r)
		if err == nil {
			err = handle(w, r)
		}
		answer(w, err)
	}
}

// authorize compares tokens by their digests, which takes the same time however
// much of a guess is right. Old servers send the token in the query.
func (b *Bridge) authorize(r *http.Request) error {
	token, query, err := httpserve.Tokens(r)
	if err != nil {
		return &problem{http.StatusBadRequest, "M_INVALID_PARAM", err.Error()}
	}
	if token = cmp.Or(token, query); token == "" {
		return &problem{http.StatusUnauthorized, "M_MISSING_TOKEN", "the hs_token is needed in the header Authorization: Bearer"}
	}
	have, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(b.registration.HSToken))
	if subtle.ConstantTimeCompare(have[:], want[:]) != 1 {
		b.log.Warn("a request with another token than the registration's hs_token was refused")
		return &problem{http.StatusForbidden, "M_FORBIDDEN", "this is not the hs_token of the registration"}
	}
	return nil
}

// transact takes one transaction in, when it is there and its turn has come.
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
	t, err := parseTransaction(body)
	if err != nil {
		b.log.Warn("a transaction that cannot be read was refused", "error", err, "bytes", len(body))
		return err
	}
	if err := b.store(ctx, t); err != nil {
		b.log.Warn("a transaction could not be stored, its homeserver will send it again", "error", err)
		return unstored(err)
	}
	b.counts.transactions.Add(1)
	b.log.Debug("transaction stored", "rooms", len(t.rooms), "bytes", len(body))
	return nil
}

// take takes one of the places that a channel has. It reports whether it has one, and
// gives up when ctx ends.
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
	// A server that has no deadlines, as in some tests, has none here either.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return nil, &problem{http.StatusRequestEntityTooLarge, "M_TOO_LARGE", "a transaction may have " + strconv.Itoa(maxBodyBytes) + " bytes"}
	}
	if err != nil {
		return nil, &problem{http.StatusBadRequest, "M_NOT_JSON", "the request body ended too early"}
	}
	return body, nil
}

// unstored says whose fault it is that a transaction was not stored.
func unstored(err error) error {
	if errors.Is(err, homeserver.ErrCannotTell) {
		return &problem{http.StatusBadGateway, "M_UNKNOWN", "the homeserver does not tell the state of a room, without which its events cannot be used; send this again"}
	}
	return &problem{http.StatusServiceUnavailable, "M_UNKNOWN", "the events cannot be stored now, send them again"}
}

// answer writes {} or an error, which may be long after the request came.
func answer(w http.ResponseWriter, err error) {
	// A server that has no deadlines, as in some tests, has none here either.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "application/json")
	var p *problem
	if err == nil {
		_, _ = io.WriteString(w, "{}") // whoever is gone asks again
		return
	}
	if !errors.As(err, &p) {
		p = &problem{http.StatusInternalServerError, "M_UNKNOWN", "this could not be done"}
	}
	w.WriteHeader(p.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"errcode": p.errcode, "error": p.message})
}
