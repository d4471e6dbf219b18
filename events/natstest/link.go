package natstest

import (
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"poked/events/stream"
)

// Link is a connection to a server that a test can break: for a moment, at a chosen
// message, or for ever, like a killed process.
type Link struct {
	server *Server
	// Killed is called once, when the link is cut for ever.
	Killed func()
	// Log is the logger of connections over the link.
	Log *slog.Logger

	mu     sync.Mutex
	conns  map[*linkConn]struct{}
	dead   bool
	faults []*pendingFault
	drops  []string // subjects of messages from the server that get lost
	behind string   // stream whose direct reads an empty replica answers, or one that has it up to upTo
	upTo   uint64
	asked  map[string]int // requests to JetStream, by subject
	stalls chan struct{}  // closed when the link accepts data again; nil while it does
}

// Link returns a new link to the server.
func (s *Server) Link() *Link {
	return &Link{server: s, Killed: func() {}, Log: slog.New(slog.DiscardHandler), conns: map[*linkConn]struct{}{}, asked: map[string]int{}}
}

// Asked returns how many requests to JetStream were sent on subjects that begin with one
// of these.
func (l *Link) Asked(subjects ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for subject, times := range l.asked {
		if slices.ContainsFunc(subjects, func(prefix string) bool { return strings.HasPrefix(subject, prefix) }) {
			n += times
		}
	}
	return n
}

// Connect returns a connection over the link with the topology set up. It ends
// with the test.
func (l *Link) Connect(t testing.TB, topology stream.Topology) *stream.Conn {
	t.Helper()
	return l.server.connect(l, l.Log, topology)
}

// Cut breaks the link for ever.
func (l *Link) Cut() {
	first := !l.Dead()
	l.Part()
	if first {
		l.Killed()
	}
}

// Part breaks the link until [Link.Mend].
func (l *Link) Part() {
	l.mu.Lock()
	l.dead = true
	conns := make([]*linkConn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Conn.Close()
	}
}

// Mend allows connections again.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = false
}

// Stall makes the link accept no more data, like a peer that no longer reads, until the
// returned function is called. It is not for bubbles: a publisher then waits for a mutex,
// and time in a bubble would stop.
func (l *Link) Stall() (resume func()) {
	over := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stalls = over
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.stalls = nil
		close(over)
	})
}

// Dead reports whether the link is broken.
func (l *Link) Dead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// InProcessConn connects to the server, unless the link was cut.
func (l *Link) InProcessConn() (net.Conn, error) {
	conn, err := l.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	c := &linkConn{Conn: conn, link: l, closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	l.conns[c] = struct{}{}
	return c, nil
}
