package poke

import (
	"errors"
	"net"
	"syscall"
)

// socket is a connection to a gateway that tells whether it is still quiet. What it needs for
// that it keeps, since each request on a kept connection asks.
type socket struct {
	net.Conn
	raw    syscall.RawConn       // nil if the connection is no socket
	peek   func(fd uintptr) bool // sets peeked
	peeked error
}

func newSocket(conn net.Conn) *socket {
	s := &socket{Conn: conn}
	if c, ok := conn.(*openConn); ok {
		conn = c.Conn
	}
	if c, ok := conn.(syscall.Conn); ok {
		s.raw, _ = c.SyscallConn() // fails only on a closed connection, on which all fails
	}
	one := make([]byte, 1)
	s.peek = func(fd uintptr) bool {
		_, _, s.peeked = syscall.Recvfrom(int(fd), one, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	}
	return s
}

// hasInput reports whether a read from the socket would return at once. It returns false
// for a connection that is not a socket.
func (s *socket) hasInput() bool {
	if s.raw == nil {
		return false
	}
	err := s.raw.Read(s.peek)
	return err != nil || !errors.Is(s.peeked, syscall.EAGAIN)
}
