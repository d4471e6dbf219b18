package httpserve

import (
	"math"
	"net"
	"net/http"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// idlers tracks the connections of a server. While there are too many it closes the
// longest idle ones: that costs those clients a new handshake, whereas a full server
// would refuse other clients.
type idlers struct {
	most int // number of connections above which idle ones are closed

	mu   sync.Mutex // guards what follows
	open map[net.Conn]struct{}
	idle *simplelru.LRU[net.Conn, struct{}]
}

// newIdlers returns the idlers of a server with this limit of connections.
func newIdlers(limit int) *idlers {
	idle, _ := simplelru.NewLRU[net.Conn, struct{}](math.MaxInt, nil) // fails only for a size below 1
	return &idlers{most: limit - (limit+3)/4, open: map[net.Conn]struct{}{}, idle: idle}
}

// follow is a server's ConnState hook.
func (i *idlers) follow(conn net.Conn, state http.ConnState) {
	for _, c := range i.change(conn, state) {
		_ = c.Close() // no request is in progress on it
	}
}

// change records a connection's new state and returns the connections to close.
func (i *idlers) change(conn net.Conn, state http.ConnState) (tooMany []net.Conn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch state {
	case http.StateNew:
		i.open[conn] = struct{}{}
	case http.StateActive:
		i.idle.Remove(conn)
	case http.StateIdle:
		i.idle.Add(conn, struct{}{})
	case http.StateClosed, http.StateHijacked:
		i.idle.Remove(conn)
		delete(i.open, conn)
	}
	for len(i.open) > i.most {
		oldest, _, ok := i.idle.RemoveOldest()
		if !ok {
			break
		}
		delete(i.open, oldest)
		tooMany = append(tooMany, oldest)
	}
	return tooMany
}
