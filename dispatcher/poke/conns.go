package poke

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
)

// Conns is the connections to gateways. A poke cannot be called back, but
// its connection can be closed: that is how a stop keeps its bound while a
// gateway hangs.
type Conns struct {
	dialer DialFunc

	mu     sync.Mutex
	open   map[*openConn]struct{}
	closed bool
}

type openConn struct {
	net.Conn
	all *Conns
}

func NewConns(dialer DialFunc) *Conns {
	return &Conns{dialer: dialer, open: map[*openConn]struct{}{}}
}

// Dial opens a connection, unless all were closed.
func (o *Conns) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := o.dialer(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &openConn{Conn: conn, all: o}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		_ = conn.Close() // nothing was sent
		return nil, net.ErrClosed
	}
	o.open[c] = struct{}{}
	return c, nil
}

// Close closes the connection.
func (c *openConn) Close() error {
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// Close closes all connections, and those that are being opened.
func (o *Conns) Close() {
	o.mu.Lock()
	o.closed = true
	open := slices.Collect(maps.Keys(o.open))
	o.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // whoever uses it hears of it
	}
}
