package eventstest

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"poked/events"
)

// Poke is one request that a gateway received.
type Poke struct {
	At   time.Time
	Host string
	Body []byte
	// Status is the status of the answer, 0 if the connection was closed instead.
	Status int

	EventID events.EventID
	RoomID  events.RoomID
	Pushkey string
	Unread  int

	TraceParent string // the header
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
}

// StartGateway starts a gateway that ends with the test. It answers 200 until
// [Gateway.Answer] changes that.
func StartGateway(t testing.TB) *Gateway {
	g := &Gateway{
		t: t, conns: make(chan net.Conn), closed: make(chan struct{}),
		answer: func(Poke) Reply { return Reply{} },
		refuse: func(string) bool { return false },
		busy:   map[string]int{}, most: map[string]int{},
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

// read parses a poke. An incomplete request does not count.
func (g *Gateway) read(r *http.Request) (Poke, bool) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return Poke{}, false
	}
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
		At: time.Now(), Host: r.Host, Body: body,
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
