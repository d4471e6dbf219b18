package natstest

import (
	"bytes"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

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
		op = bytes.Replace(c.link.asOf(op, words[1]), []byte(words[1]), []byte(c.link.replica(words[1])), 1)
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
