package eventstest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"poked/events"
	"poked/events/webpush/webpushtest"
)

// Poke is one request that a gateway received.
type Poke struct {
	At   time.Time
	Host string
	Body []byte
	// Status is the status of the answer, 0 if the connection was closed instead.
	Status int
	// Push is what a poke for a browser has besides, nil of others. Body is then as in an http
	// poke.
	Push *Push

	EventID events.EventID
	RoomID  events.RoomID
	Pushkey string
	Unread  int

	TraceParent string // the header
}

// Push is a request to a push service (RFC 8030).
type Push struct {
	Path   string
	Header http.Header
	Size   int // of the encrypted body
}

// Reply is a gateway's answer. The zero value is 200 with an empty object.
type Reply struct {
	Status int
	Header http.Header
	Body   string
	After  time.Duration // delay before the answer
	HangUp bool          // the connection is closed in place of an answer
}

// Gateway is a push gateway that is reached over in-process pipes, under any host name.
// It records every request.
type Gateway struct {
	t      testing.TB
	conns  chan net.Conn
	closed chan struct{}
	server *http.Server

	mu     sync.Mutex
	answer func(Poke) Reply
	refuse func(host string) bool
	tried  []Poke
	pokes  []Poke
	busy   map[string]int
	most   map[string]int
	// browsers are the subscriptions, by path: the gateway is a push service, too.
	browsers map[string]*webpushtest.Browser
}

// StartGateway starts a gateway that ends with the test. It answers 200 until
// [Gateway.Answer] changes that.
func StartGateway(t testing.TB) *Gateway {
	g := &Gateway{
		t: t, conns: make(chan net.Conn), closed: make(chan struct{}),
		answer: func(Poke) Reply { return Reply{} },
		refuse: func(string) bool { return false },
		busy:   map[string]int{}, most: map[string]int{}, browsers: map[string]*webpushtest.Browser{},
	}
	g.server = &http.Server{Handler: http.HandlerFunc(g.notify), ReadHeaderTimeout: time.Hour}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = g.server.Serve(listener{g})
	}()
	t.Cleanup(func() {
		close(g.closed)
		_ = g.server.Close()
		<-ended
	})
	return g
}

// Dial connects to the gateway, whatever the address.
func (g *Gateway) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	g.mu.Lock()
	refuse := g.refuse
	g.mu.Unlock()
	if host, _, _ := net.SplitHostPort(address); refuse(host) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	ours, theirs := net.Pipe()
	select {
	case g.conns <- theirs:
		return ours, nil
	case <-g.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// listener passes the pipes that Dial makes to the HTTP server.
type listener struct{ g *Gateway }

func (l listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.g.conns:
		return conn, nil
	case <-l.g.closed:
		return nil, net.ErrClosed
	}
}

func (l listener) Close() error   { return nil }
func (l listener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// Answer makes fn answer all requests from now on.
func (g *Gateway) Answer(fn func(Poke) Reply) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = fn
}

// Refuse makes the gateway refuse new connections to the hosts that fn selects.
func (g *Gateway) Refuse(fn func(host string) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refuse = fn
}

func (g *Gateway) notify(w http.ResponseWriter, r *http.Request) {
	p, ok := g.read(r)
	if !ok {
		return
	}
	g.mu.Lock()
	g.busy[p.Host]++
	g.most[p.Host] = max(g.most[p.Host], g.busy[p.Host])
	reply := g.answer(p)
	if p.Status = cmp.Or(reply.Status, http.StatusOK); reply.HangUp {
		p.Status = 0
	}
	g.tried = append(g.tried, p)
	g.mu.Unlock()
	select {
	case <-time.After(reply.After):
	case <-g.closed:
	}
	g.mu.Lock()
	g.busy[p.Host]--
	if p.Status/100 == 2 {
		g.pokes = append(g.pokes, p)
	}
	g.mu.Unlock()
	if reply.HangUp {
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's own way to close a connection
	}
	for key, values := range reply.Header {
		w.Header()[key] = values
	}
	if reply.Body == "" {
		reply.Body = "{}"
	}
	w.WriteHeader(p.Status)
	_, _ = io.WriteString(w, reply.Body)
}

// Browser subscribes a browser at a host, and returns its pusher, which needs an app. Pushes to it
// are decrypted, and recorded as pokes.
func (g *Gateway) Browser(host string, data map[string]any) events.Pusher {
	browser, err := webpushtest.New()
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	path := fmt.Sprintf("/push/%d", len(g.browsers))
	g.browsers[path] = browser
	all := map[string]any{"url": "http://" + host + path, "auth": browser.Auth()}
	maps.Copy(all, data)
	raw, err := json.Marshal(all)
	if err != nil {
		g.t.Fatal(err)
	}
	return events.Pusher{Kind: events.KindWebPush, Pushkey: browser.Pushkey(), Data: raw}
}

// decrypt returns the body of a push as an http poke has it, and what it has besides.
func (g *Gateway) decrypt(r *http.Request, sealed []byte) (body []byte, push *Push) {
	if r.Header.Get("Content-Encoding") == "" {
		return sealed, nil
	}
	g.mu.Lock()
	browser := g.browsers[r.URL.Path]
	g.mu.Unlock()
	if browser == nil {
		g.t.Errorf("a push to %s, where no browser is", r.URL.Path)
		return sealed, nil
	}
	message, err := browser.Open(sealed)
	if err != nil {
		g.t.Errorf("a push to %s: %v", r.URL.Path, err)
	}
	return []byte(`{"notification":` + string(message) + `}`), &Push{Path: r.URL.Path, Header: r.Header, Size: len(sealed)}
}

// read parses a poke. An incomplete request does not count.
func (g *Gateway) read(r *http.Request) (Poke, bool) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return Poke{}, false
	}
	body, push := g.decrypt(r, body)
	var poke struct {
		Notification struct {
			EventID events.EventID `json:"event_id"`
			RoomID  events.RoomID  `json:"room_id"`
			Counts  struct {
				Unread int `json:"unread"`
			} `json:"counts"`
			Devices []struct {
				Pushkey string `json:"pushkey"`
			} `json:"devices"`
		} `json:"notification"`
	}
	if err := json.Unmarshal(body, &poke); err != nil || len(poke.Notification.Devices) != 1 {
		g.t.Errorf("not a poke for one device: %s", body)
		return Poke{At: time.Now(), Host: r.Host, Body: body}, true
	}
	n := poke.Notification
	return Poke{
		At: time.Now(), Host: r.Host, Body: body, Push: push,
		EventID: n.EventID, RoomID: n.RoomID, Pushkey: n.Devices[0].Pushkey, Unread: n.Counts.Unread,
		TraceParent: r.Header.Get(events.HeaderTraceParent),
	}, true
}

// Pokes returns the pokes that the gateway answered with 2xx, in order.
func (g *Gateway) Pokes() []Poke {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Poke(nil), g.pokes...)
}

// Tried returns every request, in order of arrival.
func (g *Gateway) Tried() []Poke {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Poke(nil), g.tried...)
}

// MostAtOnce returns the maximum number of concurrent requests for a host.
func (g *Gateway) MostAtOnce(host string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most[host]
}
