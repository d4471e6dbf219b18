package httpserve

import (
	"math"
	"net"
	"net/http"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// idlers knows the connections of a server, and which of them are idle. While there
// are too many it closes those that have been idle for longest: an idle connection
// costs its client another handshake, a full server keeps clients out.
type idlers struct {
	most int // connections that there may be before idle ones are closed

	mu   sync.Mutex // guards what follows
	open map[net.Conn]struct{}
	idle *simplelru.LRU[net.Conn, struct{}]
}

// newIdlers returns the idlers of a server that may have this many connections.
func newIdlers(limit int) *idlers {
	idle, _ := simplelru.NewLRU[net.Conn, struct{}](math.MaxInt, nil) // fails only for a size below 1
	return &idlers{most: limit - (limit+3)/4, open: map[net.Conn]struct{}{}, idle: idle}
}

// follow is a server's ConnState hook.
func (i *idlers) follow(conn net.Conn, state http.ConnState) {
	for _, c := range i.change(conn, state) {
		_ = c.Close() // nobody waits for an answer on it
	}
}

// change takes in what became of a connection and returns those that are to be closed.
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
