package poke

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
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

// errNotHTTP says that what came back is no answer of HTTP/1: whoever repeats the
// request soon gets the same.
var errNotHTTP = errors.New("not an HTTP answer")

// errHeadTooLarge says that a header, or the trailers, are longer than maxHeaderBytes.
var errHeadTooLarge = errors.New("the header is too large")

// maxInterim is how many interim answers (1xx) may come before the answer.
const maxInterim = 16

// receive reads an answer. clean says that the connection is where the next one
// may begin.
func receive(hc *fasthttp.HostClient, conn net.Conn, resp *fasthttp.Response) (clean bool, err error) {
	bounded := &boundedConn{Conn: conn, released: maxAnswerBytes}
	r := hc.AcquireReader(bounded)
	defer hc.ReleaseReader(r)
	err = readAnswer(r, resp)
	var trailers *fasthttp.ErrSmallBuffer
	switch {
	case err == nil:
		return !resp.ConnectionClose() && r.Buffered() == 0 && resp.StatusCode() != fasthttp.StatusSwitchingProtocols, nil
	case bounded.released == 0:
		return false, fasthttp.ErrBodyTooLarge
	case errors.As(err, &trailers):
		return false, errHeadTooLarge
	case bounded.failed, errors.Is(err, fasthttp.ErrBodyTooLarge), errors.Is(err, errHeadTooLarge):
		return false, err
	}
	return false, fmt.Errorf("%w: %w", errNotHTTP, err) // all that was read came well
}

// readAnswer reads an answer and the interim ones before it. fasthttp takes status 000
// for 200, and waits for more when lines end with a bare line feed, so it is given
// only what it reads well.
func readAnswer(r *bufio.Reader, resp *fasthttp.Response) error {
	status := 0
	for range maxInterim {
		head, err := readHead(r)
		if err != nil {
			return err
		}
		if status, err = statusOf(head); err != nil {
			return err
		}
		if err := parseHead(r, head, resp); err != nil {
			return err
		}
		if status >= 200 || status == fasthttp.StatusSwitchingProtocols {
			break
		}
	}
	switch {
	case status == fasthttp.StatusSwitchingProtocols, status == fasthttp.StatusNoContent, status == fasthttp.StatusNotModified:
		return nil // have no body, whatever their header says
	case status < 200:
		return errors.New("too many interim answers")
	}
	chunked := resp.Header.ContentLength() == -1 // ReadBody replaces it
	if err := resp.ReadBody(r, pushgateway.MaxResponseBytes); err != nil || !chunked {
		return err
	}
	if err := resp.Header.ReadTrailer(r); err != nil {
		return fmt.Errorf("read trailers: %w", err)
	}
	return nil
}

// httpName is what every answer begins with.
const httpName = "HTTP/"

// readHead waits until a whole header, with the empty line at its end, stands in the
// buffer of r, and leaves it there. Lines may end with a bare line feed (RFC 9112,
// section 2.2).
func readHead(r *bufio.Reader) (head []byte, err error) {
	for seen := 0; ; {
		_, err = r.Peek(seen + 1)
		head, _ = r.Peek(r.Buffered()) // as much as there is
		if known := min(len(head), len(httpName)); string(head[:known]) != httpName[:known] {
			return nil, errNotHTTP
		}
		for i := max(seen-2, 0); i < len(head); i++ {
			if rest := head[i+1:]; head[i] == '\n' && (bytes.HasPrefix(rest, []byte("\n")) || bytes.HasPrefix(rest, []byte("\r\n"))) {
				return head[:i+1+bytes.IndexByte(rest, '\n')+1], nil
			}
		}
		seen = len(head)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, errHeadTooLarge
		case errors.Is(err, io.EOF) && seen > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
	}
}

// statusOf returns the status of an answer: 100 to 599, others mean nothing (RFC
// 9110, section 15).
func statusOf(head []byte) (int, error) {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	_, rest, _ := bytes.Cut(bytes.TrimRight(line, "\r"), []byte(" "))
	code, _, _ := bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
	status, err := strconv.Atoi(string(code))
	if err != nil || len(code) != 3 || status < 100 || status > 599 {
		return 0, errors.New("its status is none")
	}
	return status, nil
}

// parseHead reads a header that stands in the buffer of r.
func parseHead(r *bufio.Reader, head []byte, resp *fasthttp.Response) error {
	lines := bytes.Count(head, []byte("\n"))
	if bytes.Count(head, []byte("\r\n")) == lines {
		return resp.Header.Read(r)
	}
	plain := bytes.ReplaceAll(bytes.ReplaceAll(head, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	err := resp.Header.Read(bufio.NewReaderSize(bytes.NewReader(plain), len(plain)))
	_, _ = r.Discard(len(head)) // which stands there
	return err
}

// boundedConn ends when as much as left was read.
type boundedConn struct {
	net.Conn
	released int
	failed   bool // reading did
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.released == 0 {
		return 0, fasthttp.ErrBodyTooLarge
	}
	n, err := c.Conn.Read(p[:min(len(p), c.released)])
	c.released -= n
	c.failed = c.failed || err != nil
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
