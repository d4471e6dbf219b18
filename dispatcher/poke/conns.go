package poke

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
)

// Conns are the open connections to gateways. A request cannot be cancelled, but its
// connection can be closed, so a stop takes a bounded time even while a gateway hangs.
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

// NewConns returns a set of connections, opened with dialer.
func NewConns(dialer DialFunc) *Conns {
	return &Conns{dialer: dialer, open: map[*openConn]struct{}{}}
}

// Dial opens a connection. It returns [net.ErrClosed] after [Conns.Close].
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

// Close closes all connections, also those that are being opened.
func (o *Conns) Close() {
	o.mu.Lock()
	o.closed = true
	open := slices.Collect(maps.Keys(o.open))
	o.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // the request that uses it fails
	}
}
