package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"poked/events/homeserver"
	"poked/events/owner"
	"poked/events/pushgateway"
	"poked/events/roomstore"
	"poked/events/stream"
	"poked/registry/auth"
	"poked/registry/browsers"
	"poked/registry/outbox"
	"poked/registry/problem"
	"poked/registry/request"
	"poked/registry/store"
)

// maxBodyBytes bounds a request body.
const maxBodyBytes = 64 << 10

// api answers HTTP requests.
type api struct {
	store    *store.Store
	owners   *owner.Client    // of partitions
	rooms    *roomstore.Store // for the events of notifications
	policy   *pushgateway.Policy
	outbox   *outbox.Outbox
	auth     auth.Authenticator
	limiter  *limiter
	tests    *limiter            // of test pushes
	listings *semaphore.Weighted // limits concurrent listings of notifications
	log      *slog.Logger
	table    []endpoint
	requests requestCounts

	upstream *upstream // nil without a homeserver to ask
	reports  *reports
	browsers *browsers.Browsers // nil if web push is off
}

// call is one request in progress, with what its log line needs.
type call struct {
	request  *http.Request
	path     string            // template of the path, "" if it is unknown
	params   map[string]string // path parameters, by their names in the template
	identity auth.Identity
	original bool // under the original prefix, api/v1
	passed   bool // not authenticated here, see endpoint
}

func newAPI(store *store.Store, outbox *outbox.Outbox, conn *stream.Conn, policy *pushgateway.Policy, auth auth.Authenticator, up *upstream, browsers *browsers.Browsers, limiter, tests *limiter, log *slog.Logger) *api {
	a := &api{
		store: store, outbox: outbox, policy: policy, auth: auth, upstream: up, limiter: limiter, tests: tests,
		owners: owner.NewClient(conn), rooms: roomstore.New(conn), listings: semaphore.NewWeighted(maxListings),
		log: log, reports: newReports(conn, log), browsers: browsers,
	}
	a.table = a.endpoints()
	a.requests.expect(a.table)
	return a
}

// ServeHTTP answers one request and logs one line about it.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	c := &call{request: r}
	route := a.find(c)
	allowCrossOrigin(w.Header())
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		a.record(c, began, http.StatusNoContent, "", nil)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	answer, err := a.answer(r.Context(), c, route)
	if err == nil && r.Method != http.MethodGet && c.identity.UserID != "" {
		a.outbox.Await(r.Context(), c.identity.UserID)
	}
	status, errcode := write(w, answer, err)
	a.record(c, began, status, errcode, err)
}

func (a *api) answer(ctx context.Context, c *call, route route) (any, error) {
	if route == nil {
		return nil, problem.New(problem.UnknownPath, "unknown path")
	}
	handle, ok := route[c.request.Method]
	if !ok {
		return nil, &problem.Error{Kind: problem.WrongMethod, Message: "method not allowed at this path", Allow: route.methods()}
	}
	if c.passed {
		return handle(ctx, c)
	}
	var err error
	if c.identity, err = auth.Authenticate(ctx, a.auth, c.request); err != nil {
		return nil, err
	}
	if err := a.limiter.admit(c.identity.UserID); err != nil {
		return nil, err
	}
	if a.upstream == nil {
		return handle(ctx, c)
	}
	result, err := handle(a.upstream.tokens.WithClaim(ctx, c.identity), c)
	if err == nil {
		a.upstream.newcomers.meet(a.upstream.account(c))
	}
	if errors.Is(err, store.ErrLoggedOut) { // a client that was logged out gets 401, others try again
		if _, gone := auth.Authenticate(ctx, a.auth, c.request); gone != nil {
			return nil, gone
		}
	}
	return result, err
}

// methods lists the methods of a path for the header Allow.
func (r route) methods() string {
	return strings.Join(append(slices.Sorted(maps.Keys(r)), http.MethodOptions), ", ")
}

// body reads the whole request body.
func (c *call) body() ([]byte, error) {
	raw, err := io.ReadAll(c.request.Body)
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return nil, problem.New(problem.TooLarge, "the request body is longer than "+strconv.Itoa(maxBodyBytes)+" bytes")
	}
	if err != nil {
		return nil, problem.New(problem.NotJSON, "the request body ended too early")
	}
	return raw, nil
}

// fields reads the whole request body as a JSON object.
func (c *call) fields() (*request.Fields, error) {
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	return request.ParseFields(body)
}

// write sends an answer or an error, and returns what it sent.
func write(w http.ResponseWriter, answer any, err error) (status int, errcode string) {
	if passed, ok := answer.(*homeserver.Answer); ok && err == nil {
		return relay(w, passed)
	}
	status = http.StatusOK
	if _, ok := answer.(created); ok {
		status = http.StatusCreated
	}
	if err != nil {
		e := problemOf(err)
		errcode, status = e.Kind.Wire()
		answer = bodyOf(e)
		if e.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.FormatInt(ceil(e.RetryAfter, time.Second), 10))
		}
		if e.Allow != "" {
			w.Header().Set("Allow", e.Allow)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // fails only if the client is gone
	return status, errcode
}

// allowCrossOrigin sets the headers that web clients need (client-server API, "Web
// Browser Clients").
func allowCrossOrigin(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "X-Requested-With, Content-Type, Authorization")
}

// record logs one line for each request. The line contains nothing that the client
// chose freely: no unknown path or method, no query, no body.
func (a *api) record(c *call, began time.Time, status int, errcode string, err error) {
	a.requests.add(c.path, status)
	attrs := []slog.Attr{
		slog.String("method", knownMethod(c.request.Method)),
		slog.String("path", c.path),
		slog.Int("status", status),
		slog.Float64("duration_ms", float64(time.Since(began).Microseconds())/1000),
	}
	if errcode != "" {
		attrs = append(attrs, slog.String("errcode", errcode))
	}
	if c.identity.UserID != "" {
		attrs = append(attrs, slog.String("user_id", string(c.identity.UserID)))
	}
	level := slog.LevelInfo
	switch {
	case err == nil:
	case errcode == "M_MISSING_TOKEN": // health checks of reverse proxies, and strangers
		level = slog.LevelDebug
	case status == http.StatusServiceUnavailable:
		level = slog.LevelWarn
		attrs = append(attrs, slog.Any("error", whyOf(err)))
	case status >= http.StatusInternalServerError:
		level = slog.LevelError
		attrs = append(attrs, slog.Any("error", whyOf(err)))
	}
	a.log.LogAttrs(context.WithoutCancel(c.request.Context()), level, "http request", attrs...)
}

// whyOf returns the cause, which the client does not see.
func whyOf(err error) error {
	var known *problem.Error
	if errors.As(err, &known) && known.Cause != nil {
		return known.Cause
	}
	return err
}

func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}
