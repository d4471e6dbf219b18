package stream

import (
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// reader is a second connection to NATS, for everything that is read in bulk. The server
// answers a direct read in the read loop of its connection, and whatever else that
// connection carries waits meanwhile: heartbeats and positions must not.
type reader struct {
	mu sync.Mutex
	nc *nats.Conn
	js jetstream.JetStream
}

// reading returns the connection for bulk reads. The first call makes it.
func (c *Conn) reading() (*nats.Conn, jetstream.JetStream, error) {
	r := &c.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nc != nil {
		return r.nc, r.js, nil
	}
	if !c.nc.IsConnected() {
		return nil, nil, fmt.Errorf("connect for reading: %w", nats.ErrConnectionReconnecting)
	}
	opts, err := c.options()
	if err != nil {
		return nil, nil, fmt.Errorf("connect for reading: %w", err)
	}
	nc, err := nats.Connect(c.cfg.URL, append(opts,
		nats.Name(c.cfg.Name+" reading"), nats.DisconnectErrHandler(nil), nats.ReconnectHandler(nil))...)
	if err != nil {
		return nil, nil, fmt.Errorf("connect for reading: %w", err)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(RequestTimeout))
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("use JetStream for reading: %w", err)
	}
	r.nc, r.js = nc, js
	return nc, js, nil
}

func (r *reader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nc != nil {
		r.nc.Close()
	}
}
