package eventstest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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
	drops  []string       // subjects of messages from the server that get lost
	behind string         // stream whose direct reads an empty replica answers
	asked  map[string]int // requests to JetStream, by subject
	stalls chan struct{}  // closed when the link accepts data again; nil while it does
}

type pendingFault struct {
	subject string // prefix
	fault   Fault
	met     bool
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

// Break makes the next message whose subject begins with subject meet a fault. happened
// reports whether one has.
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

// Spare removes the faults that no message has met yet.
func (l *Link) Spare() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = slices.DeleteFunc(l.faults, func(f *pendingFault) bool { return !f.met })
}

// Refuse makes the server refuse this many messages whose subject begins with subject.
func (l *Link) Refuse(subject string, times int) {
	for range times {
		l.Break(subject, Refuse)
	}
}

// Behind makes a replica without any messages answer the direct reads of a stream, until
// the next call. "" means no stream.
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

// replica returns the subject to which a message to the server is sent.
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

// Drop makes the next message from the server whose subject begins with subject
// disappear.
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

// meet returns the fault that a message to the server meets, or 0.
func (l *Link) meet(subject string) Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.HasPrefix(subject, "$JS.API.") {
		l.asked[subject]++
	}
	for _, f := range l.faults {
		if !f.met && strings.HasPrefix(subject, f.subject) {
			f.met = true
			return f.fault
		}
	}
	return 0
}

// drop reports whether a message from the server gets lost.
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

	chunk    []byte // buffer of one read
	incoming []byte // of an operation from the server that is not complete
	ready    []byte // for Read

	mu     sync.Mutex
	answer string // subject of the answer to lose
	fault  Fault  // the fault that the answer meets

	deadline time.Time     // of writes
	closed   chan struct{} // closed with the connection
	once     sync.Once
}

// Write passes on what the client sends.
func (c *linkConn) Write(p []byte) (int, error) {
	if err := c.waitWhileStalled(); err != nil {
		return 0, err
	}
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
	case Refuse: // the server answers that no stream has this subject
		op = bytes.Replace(op, []byte(words[1]), []byte("nowhere"), 1)
	case Lose:
		_ = c.Conn.Close()
		return net.ErrClosed
	case Late:
		op = bytes.Clone(op)
		time.AfterFunc(lateness, func() { _, _ = c.Conn.Write(op) }) // or the connection is gone, and the answer missing
		return nil
	default:
		c.mu.Lock()
		c.answer, c.fault = words[2], fault
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
			fault := c.lost(words[1])
			if fault != 0 && fault != LoseSilently {
				_ = c.Conn.Close()
				return io.EOF
			}
			if fault == LoseSilently || c.link.drop(words[1]) {
				continue
			}
		}
		c.ready = append(c.ready, op...)
	}
}

// lost returns the fault that an answer meets, or 0.
func (c *linkConn) lost(subject string) Fault {
	c.mu.Lock()
	fault := c.fault
	if c.answer != subject {
		fault = 0
	}
	c.mu.Unlock()
	if fault == Kill {
		c.link.Cut()
	}
	return fault
}

// SetWriteDeadline sets the deadline also for writes that wait while the link stalls.
func (c *linkConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetWriteDeadline(t)
}

// waitWhileStalled returns once the link accepts data again, or with an error.
func (c *linkConn) waitWhileStalled() error {
	c.link.mu.Lock()
	over := c.link.stalls
	c.link.mu.Unlock()
	if over == nil {
		return nil
	}
	c.mu.Lock()
	deadline := c.deadline
	c.mu.Unlock()
	var timeout <-chan time.Time
	if !deadline.IsZero() {
		timeout = time.After(time.Until(deadline))
	}
	select {
	case <-over:
		return nil
	case <-c.closed:
		return net.ErrClosed
	case <-timeout:
		return os.ErrDeadlineExceeded
	}
}

// Close closes the connection.
func (c *linkConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	return c.Conn.Close()
}

func wordsOf(op []byte) []string {
	line, _, _ := bytes.Cut(op, []byte("\r\n"))
	return append(strings.Fields(string(line)), "", "")
}

// cutOperation splits off the first operation: a line and, after PUB, HPUB, MSG and
// HMSG, the number of bytes in its last word. It returns nil if there is no complete
// operation.
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
			return nil, stream // never: both ends are NATS
		}
		length += payload + 2
	}
	if len(stream) < length {
		return nil, stream
	}
	return stream[:length:length], stream[length:]
}
