package dispatcher

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"poked/events/pushgateway"
)

// maxAnswerBytes bounds what is read for one answer with all that HTTP puts
// around it: interim answers, chunk sizes, trailers.
const maxAnswerBytes = maxHeaderBytes + 2*pushgateway.MaxResponseBytes

// exchange sends a request and reads its answer over one connection. It stands in
// for fasthttp's own transport, which leaves three things to the gateway: how
// long a TLS handshake takes, how much is sent around a body, and whether what
// was sent after an answer is the answer to the next request.
type exchange struct {
	timeout time.Duration
}

// RoundTrip never asks for another try. A connection that was closed or spoken on
// while it was idle is passed over before anything is sent.
func (e exchange) RoundTrip(hc *fasthttp.HostClient, req *fasthttp.Request, resp *fasthttp.Response) (retry bool, err error) {
	deadline := time.Now().Add(e.timeout)
	cc, err := hc.AcquireConn(e.timeout, false)
	for err == nil && !cc.LastUseTime().IsZero() && !quiet(cc.Conn()) {
		hc.CloseConn(cc)
		cc, err = hc.AcquireConn(e.timeout, false)
	}
	if err != nil {
		return false, err
	}
	err = cc.Conn().SetDeadline(deadline)
	if err == nil {
		err = send(hc, cc.Conn(), req)
	}
	clean := false
	if err == nil {
		clean, err = receive(hc, cc.Conn(), resp)
	}
	if clean {
		hc.ReleaseConn(cc)
	} else {
		hc.CloseConn(cc)
	}
	return false, err
}

func send(hc *fasthttp.HostClient, conn net.Conn, req *fasthttp.Request) error {
	w := hc.AcquireWriter(conn)
	defer hc.ReleaseWriter(w)
	if err := req.Write(w); err != nil {
		return err
	}
	return w.Flush()
}

// receive reads an answer. clean says that the connection is where the next one
// may begin.
func receive(hc *fasthttp.HostClient, conn net.Conn, resp *fasthttp.Response) (clean bool, err error) {
	bounded := &boundedConn{Conn: conn, left: maxAnswerBytes}
	r := hc.AcquireReader(bounded)
	defer hc.ReleaseReader(r)
	err = resp.ReadLimitBody(r, pushgateway.MaxResponseBytes)
	if err != nil && bounded.left == 0 {
		return false, fasthttp.ErrBodyTooLarge
	}
	return err == nil && !resp.ConnectionClose() && r.Buffered() == 0 &&
		resp.StatusCode() != fasthttp.StatusSwitchingProtocols, err
}

// boundedConn ends when as much as left was read.
type boundedConn struct {
	net.Conn
	left int
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, fasthttp.ErrBodyTooLarge
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// quiet says whether an idle connection is open and nothing was sent on it since
// the last answer.
func quiet(conn net.Conn) bool {
	if secure, ok := conn.(*tls.Conn); ok {
		// What came along with the last answer does not stand in the socket.
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // fails on a closed connection, as Read does
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		conn = secure.NetConn()
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return false
	}
	return !hasInput(conn)
}

// hasInput says whether reading from the socket would return at once. What is no
// socket is not looked into.
func hasInput(conn net.Conn) bool {
	if c, ok := conn.(*openConn); ok {
		conn = c.Conn
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	var peeked error
	err = raw.Read(func(fd uintptr) bool {
		_, _, peeked = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return err != nil || !errors.Is(peeked, syscall.EAGAIN)
}
