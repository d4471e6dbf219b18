package events

import "sync"

// Group is the workers of one consumer group as one process takes part in it: the
// partitions that it follows, and its worker. Make one for each connection.
type Group struct {
	conn    *Conn
	running sync.Map // the followers that run
}

// NewGroup returns the group over a connection whose topology is known.
func NewGroup(conn *Conn) *Group { return &Group{conn: conn} }
