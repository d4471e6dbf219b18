package eventstest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// Link is a connection to a server that a test can break: for a moment, at a
// message of its choice, or for ever, as the death of a process would.
type Link struct {
	server *Server
	// Killed is called once, when nothing passes any more.
	Killed func()
	// Log is where connections over the link log to.
	Log *slog.Logger

	mu     sync.Mutex
	conns  map[*linkConn]struct{}
	dead   bool
	faults []*pendingFault
	drops  []string // subjects of messages from the server that get lost
	behind string   // stream whose direct reads find nothing
}

type pendingFault struct {
	subject string // prefix
	fault   Fault
	met     bool
}

// Link returns a new link to the server.
func (s *Server) Link() *Link {
	return &Link{server: s, Killed: func() {}, Log: slog.New(slog.DiscardHandler), conns: map[*linkConn]struct{}{}}
}

// Connect returns a connection over the link with the topology set up. It ends
// with the test.
func (l *Link) Connect(t testing.TB, topology events.Topology) *events.Conn {
	t.Helper()
	return l.server.connect(l, l.Log, topology)
}

// Break has the next message whose subject begins with subject meet a fault.
// What it returns tells whether one has.
func (l *Link) Break(subject string, fault Fault) (happened func() bool) {
	f := &pendingFault{subject: subject, fault: fault}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, f)
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return f.met
	}
}

// Spare takes back the faults that no message has met.
func (l *Link) Spare() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = slices.DeleteFunc(l.faults, func(f *pendingFault) bool { return !f.met })
}

// Refuse has so many messages refused whose subject begins with subject.
func (l *Link) Refuse(subject string, times int) {
	for range times {
		l.Break(subject, Refuse)
	}
}

// Behind has a replica answer the direct reads of a stream, until it is called
// again, that has not heard of anything yet: a stream which is empty. No stream is "".
func (l *Link) Behind(stream string) {
	l.server.raw(func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: behind, AllowDirect: true})
		return err
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behind = stream
}

const behind = "BEHIND"

// replica returns where a message to the server goes.
func (l *Link) replica(subject string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	const direct = "$JS.API.DIRECT.GET."
	stream, by, _ := strings.Cut(strings.TrimPrefix(subject, direct), ".")
	switch {
	case l.behind == "" || stream != l.behind || !strings.HasPrefix(subject, direct):
		return subject
	case by == "":
		return direct + behind
	}
	return direct + behind + "." + by
}

// Drop has the next message from the server whose subject begins with subject
// get lost without a trace.
func (l *Link) Drop(subject string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drops = append(l.drops, subject)
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

// Mend lets connections be made again.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = false
}

// Dead says whether the link is broken.
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
	c := &linkConn{Conn: conn, link: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	l.conns[c] = struct{}{}
	return c, nil
}

// meet returns the fault that a message to the server meets, or 0.
func (l *Link) meet(subject string) Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.faults {
		if !f.met && strings.HasPrefix(subject, f.subject) {
			f.met = true
			return f.fault
		}
	}
	return 0
}

// drop says whether a message from the server gets lost.
func (l *Link) drop(subject string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, prefix := range l.drops {
		if strings.HasPrefix(subject, prefix) {
			l.drops = append(l.drops[:i], l.drops[i+1:]...)
			return true
		}
	}
	return false
}

// linkConn passes the NATS client protocol on, operation by operation.
type linkConn struct {
	net.Conn
	link *Link

	outgoing []byte // of an operation that is not complete

	chunk    []byte // what is read at once
	incoming []byte // of an operation from the server that is not complete
	ready    []byte // for Read

	mu     sync.Mutex
	answer string // subject of the answer that is lost
	kill   bool   // and with it, the link
}

// Write passes on what the client sends.
func (c *linkConn) Write(p []byte) (int, error) {
	c.outgoing = append(c.outgoing, p...)
	for {
		op, rest := cutOperation(c.outgoing)
		if op == nil {
			return len(p), nil
		}
		c.outgoing = rest
		if err := c.send(op); err != nil {
			return 0, err
		}
	}
}

func (c *linkConn) send(op []byte) error {
	words := wordsOf(op)
	if words[0] != "PUB" && words[0] != "HPUB" {
		_, err := c.Conn.Write(op)
		return err
	}
	switch fault := c.link.meet(words[1]); fault {
	case 0:
		op = bytes.Replace(op, []byte(words[1]), []byte(c.link.replica(words[1])), 1)
	case Refuse: // the server says that no stream listens there
		op = bytes.Replace(op, []byte(words[1]), []byte("nowhere"), 1)
	case Lose:
		_ = c.Conn.Close()
		return net.ErrClosed
	default:
		c.mu.Lock()
		c.answer, c.kill = words[2], fault == Kill
		c.mu.Unlock()
	}
	_, err := c.Conn.Write(op)
	return err
}

// Read passes on what the server sends.
func (c *linkConn) Read(p []byte) (int, error) {
	for len(c.ready) == 0 {
		if c.chunk == nil {
			c.chunk = make([]byte, 32<<10)
		}
		n, err := c.Conn.Read(c.chunk)
		if err != nil {
			return 0, err
		}
		c.incoming = append(c.incoming, c.chunk[:n]...)
		if err := c.receive(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

func (c *linkConn) receive() error {
	for {
		op, rest := cutOperation(c.incoming)
		if op == nil {
			return nil
		}
		c.incoming = rest
		if words := wordsOf(op); words[0] == "MSG" || words[0] == "HMSG" {
			if c.isLost(words[1]) {
				_ = c.Conn.Close()
				return io.EOF
			}
			if c.link.drop(words[1]) {
				continue
			}
		}
		c.ready = append(c.ready, op...)
	}
}

// isLost says whether an answer is the one that does not come.
func (c *linkConn) isLost(subject string) bool {
	c.mu.Lock()
	lost, kill := c.answer == subject, c.kill
	c.mu.Unlock()
	if lost && kill {
		c.link.Cut()
	}
	return lost
}

// Close closes the connection.
func (c *linkConn) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	return c.Conn.Close()
}

func wordsOf(op []byte) []string {
	line, _, _ := bytes.Cut(op, []byte("\r\n"))
	return append(strings.Fields(string(line)), "", "")
}

// cutOperation cuts the first operation off: a line and, after PUB, HPUB, MSG
// and HMSG, as many bytes as its last word says. It returns nil if there is no
// complete one.
func cutOperation(stream []byte) (op, rest []byte) {
	line, _, ok := bytes.Cut(stream, []byte("\r\n"))
	if !ok {
		return nil, stream
	}
	length := len(line) + 2
	words := strings.Fields(string(line))
	switch words[0] {
	case "PUB", "HPUB", "MSG", "HMSG":
		payload, err := strconv.Atoi(words[len(words)-1])
		if err != nil {
			return nil, stream // never: it is NATS that writes this
		}
		length += payload + 2
	}
	if len(stream) < length {
		return nil, stream
	}
	return stream[:length:length], stream[length:]
}
