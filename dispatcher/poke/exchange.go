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
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"poked/events/pushgateway"
)

// maxAnswerBytes bounds what is read for one response with all that HTTP puts around its
// body: interim responses, chunk sizes, trailers.
const maxAnswerBytes = maxHeaderBytes + 2*pushgateway.MaxResponseBytes

// exchange sends a request and reads its response over one connection. It replaces
// fasthttp's own transport, which does not bound the time of a TLS handshake nor the bytes
// around a body, and takes bytes that follow one response for the next one.
type exchange struct {
	timeout time.Duration
}

// RoundTrip sends a request once. It skips connections that the gateway closed, or sent
// something on, while they were idle.
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
		clean, err = receive(cc.Conn(), resp)
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

// errNotHTTP reports that the response is not HTTP/1. A repetition would most likely get
// the same.
var errNotHTTP = errors.New("not an HTTP answer")

// errHeadTooLarge reports that the header or the trailers are longer than maxHeaderBytes.
var errHeadTooLarge = errors.New("the header is too large")

// maxInterim bounds the interim responses (1xx) before the final one.
const maxInterim = 16

// receive reads a response. clean reports whether the connection can be used again.
func receive(conn net.Conn, resp *fasthttp.Response) (clean bool, err error) {
	in := readers.Get().(*reader) //nolint:forcetypeassert // nothing else is in the pool
	defer in.release()
	in.conn, in.left = conn, maxAnswerBytes
	if err := readAnswer(in.buffer, resp); err != nil {
		return false, in.reason(err)
	}
	return !resp.ConnectionClose() && in.buffer.Buffered() == 0 && resp.StatusCode() != fasthttp.StatusSwitchingProtocols, nil
}

// reason returns why a response cannot be read, given the error of what read it.
func (r *reader) reason(err error) error {
	var trailers *fasthttp.ErrSmallBuffer
	switch {
	case r.left == 0:
		return fasthttp.ErrBodyTooLarge
	case errors.As(err, &trailers):
		return errHeadTooLarge
	case r.failed, errors.Is(err, fasthttp.ErrBodyTooLarge), errors.Is(err, errHeadTooLarge):
		return err
	}
	return fmt.Errorf("%w: %w", errNotHTTP, err) // the connection did not fail: what it carried is wrong
}

// readAnswer reads a response and the interim ones before it. fasthttp takes status 000 for
// 200, and waits for more input when lines end with a bare line feed, so it is given only
// headers that it reads correctly.
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
		return nil // these have no body, whatever the header says
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

// httpName begins every response.
const httpName = "HTTP/"

// readHead waits until the buffer of r holds a whole header, with the empty line at its
// end, and leaves it there. Lines may end with a bare line feed (RFC 9112, section 2.2).
func readHead(r *bufio.Reader) (head []byte, err error) {
	for seen := 0; ; {
		_, err = r.Peek(seen + 1)
		head, _ = r.Peek(r.Buffered()) // all that is buffered
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

// statusOf returns the status in a header: 100 to 599, others are invalid (RFC 9110,
// section 15).
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

// parseHead parses a header that readHead left in the buffer of r.
func parseHead(r *bufio.Reader, head []byte, resp *fasthttp.Response) error {
	lines := bytes.Count(head, []byte("\n"))
	if bytes.Count(head, []byte("\r\n")) == lines {
		return resp.Header.Read(r)
	}
	plain := bytes.ReplaceAll(bytes.ReplaceAll(head, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	err := resp.Header.Read(bufio.NewReaderSize(bytes.NewReader(plain), len(plain)))
	_, _ = r.Discard(len(head)) // it is buffered, so this cannot fail
	return err
}

// reader reads one response, of a bounded number of bytes, from a connection. It has a buffer
// that can hold a whole header, and goes back to the pool after the response: nothing of a response
// refers to it.
type reader struct {
	buffer *bufio.Reader // of the reader itself
	conn   net.Conn
	left   int  // bytes that may still be read
	failed bool // a read failed
}

var readers = sync.Pool{New: func() any { //nolint:gochecknoglobals // a pool
	r := new(reader)
	r.buffer = bufio.NewReaderSize(r, maxHeaderBytes)
	return r
}}

func (r *reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, fasthttp.ErrBodyTooLarge
	}
	n, err := r.conn.Read(p[:min(len(p), r.left)])
	r.left -= n
	r.failed = r.failed || err != nil
	return n, err
}

func (r *reader) release() {
	r.buffer.Reset(r) // drops what it holds and its error
	r.conn, r.failed = nil, false
	readers.Put(r)
}

// quiet reports whether an idle connection is open and the gateway sent nothing on it since
// the last response.
func quiet(conn net.Conn) bool {
	if secure, ok := conn.(*tls.Conn); ok {
		// TLS may have buffered what arrived with the last response.
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // fails on a closed connection, as Read does
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		conn = secure.NetConn()
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return false
	}
	s, ok := conn.(*socket)
	return !ok || !s.hasInput()
}
