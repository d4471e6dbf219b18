package poke

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"poked/events/pushgateway"
)

const (
	okAnswer  = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
	badAnswer = "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}"
	chunked   = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	rejection = `{"rejected":["other","key"]}`
)

// hostile is a behaviour of a gateway. Two pokes are sent to it, one after the other, and both
// must have this outcome.
type hostile struct {
	name    string
	play    func(*peer)
	between func(*peer) // called with the first connection between the pokes
	kind    Kind
	class   string
	conns   int  // connections that the two pokes take
	hangs   bool // only the request timeout ends a poke
}

func hostileAnswers() []hostile {
	long := strings.Repeat("x", pushgateway.MaxResponseBytes)
	million := withBody("", `{"rejected":[`+strings.Repeat(`"other",`, 1_000_000)+`"key"]}`)
	few := strings.Repeat(`"other",`, 8_000)
	return []hostile{
		// Honest gateways.
		{name: "honest", play: each(okAnswer), kind: Delivered, conns: 1},
		{name: "no length", play: once("HTTP/1.1 200 OK\r\n\r\n{}"), kind: Delivered, conns: 2},
		{name: "chunks", play: each(chunked + "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"), kind: Delivered, conns: 1},
		{name: "closes while idle", play: each(okAnswer), between: (*peer).hangUp, kind: Delivered, conns: 2},

		{name: "301", play: each(redirect("301")), kind: Slow, class: "http_301", conns: 1},
		{name: "302", play: each(redirect("302")), kind: Slow, class: "http_302", conns: 1},
		{name: "303", play: each(redirect("303")), kind: Slow, class: "http_303", conns: 1},
		{name: "307", play: each(redirect("307")), kind: Slow, class: "http_307", conns: 1},
		{name: "308", play: each(redirect("308")), kind: Slow, class: "http_308", conns: 1},

		{name: "body at the limit", play: each(withBody("", long)), kind: Delivered, conns: 1},
		{name: "body over the limit", play: once(withBody("", long+"x")), kind: Slow, class: "body_too_large", conns: 2},
		{name: "body over the limit without length", play: once("HTTP/1.1 200 OK\r\n\r\n" + long + "x"), kind: Slow, class: "body_too_large", conns: 2},
		{name: "endless body", play: flood("HTTP/1.1 200 OK\r\n\r\n", long), kind: Slow, class: "body_too_large", conns: 2},
		{name: "endless chunks", play: flood(chunked, "1000\r\n"+long[:0x1000]+"\r\n"), kind: Slow, class: "body_too_large", conns: 2},
		{name: "endless small chunks", play: flood(chunked, "1\r\n \r\n"), kind: Slow, class: "body_too_large", conns: 2},
		{name: "endless chunk extension", play: flood(chunked+"1;", long), kind: Slow, class: "body_too_large", conns: 2},
		{name: "endless chunk size", play: flood(chunked, "0"), kind: Slow, class: "not_http", conns: 2},
		{name: "huge chunk", play: once(chunked + "7fffffffffffff\r\n"), kind: Slow, class: "body_too_large", conns: 2},
		{name: "endless trailers", play: flood(chunked+"0\r\n", "X: "+long[:1000]+"\r\n"), kind: Slow, class: "headers_too_large", conns: 2},
		{name: "huge length", play: once("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n"), kind: Slow, class: "body_too_large", conns: 2},
		{name: "length beyond numbers", play: once("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n{}"), kind: Slow, class: "not_http", conns: 2},
		{name: "negative length", play: once("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"), kind: Slow, class: "not_http", conns: 2},
		{name: "two lengths", play: once("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), kind: Slow, class: "not_http", conns: 2},
		{name: "dripping body", play: drip(withBody("", long[:1000])), kind: Retry, class: "timeout", conns: 2, hangs: true},
		{name: "dripping header", play: drip("HTTP/1.1 200 OK\r\nX: " + long[:1000]), kind: Retry, class: "timeout", conns: 2, hangs: true},

		{name: "gzip bomb", play: each(withBody("Content-Encoding: gzip\r\n", bomb(60<<20, "}"))), kind: Slow, class: "body_too_large", conns: 1},
		{name: "gzip that rejects", play: each(withBody("Content-Encoding: gzip\r\n", bomb(0, rejection))), kind: Rejected, class: "rejected", conns: 1},
		{name: "GZIP that rejects, in chunks", play: each(strings.Replace(chunked, "\r\n", "\r\nContent-Encoding: X-GZIP\r\n", 1) + chunk(bomb(0, rejection)) + "0\r\n\r\n"), kind: Rejected, class: "rejected", conns: 1},
		{name: "deflate that rejects", play: each(withBody("Content-Encoding: deflate\r\n", deflated(rejection, true))), kind: Rejected, class: "rejected", conns: 1},
		{name: "bare deflate that rejects", play: each(withBody("Content-Encoding: deflate\r\n", deflated(rejection, false))), kind: Rejected, class: "rejected", conns: 1},
		{name: "gzip that accepts", play: each(withBody("Content-Encoding: gzip\r\n", bomb(0, "{}"))), kind: Delivered, conns: 1},
		{name: "gzip that is none", play: each(withBody("Content-Encoding: gzip\r\n", rejection)), kind: Rejected, class: "rejected", conns: 1},
		{name: "gzip cut off", play: each(withBody("Content-Encoding: gzip\r\n", bomb(0, rejection)[:30])), kind: Delivered, conns: 1},
		{name: "an encoding that nobody knows", play: each(withBody("Content-Encoding: zstd\r\n", "\x28\xb5\x2f\xfd")), kind: Delivered, conns: 1},
		{name: "identity that rejects", play: each(withBody("Content-Encoding: identity\r\n", rejection)), kind: Rejected, class: "rejected", conns: 1},
		{name: "rejects after a byte order mark", play: each(withBody("", "\xef\xbb\xbf"+rejection)), kind: Rejected, class: "rejected", conns: 1},
		{name: "rejects in UTF-16, big end first", play: each(withBody("", inUTF16(binary.BigEndian, "\ufeff"+rejection))), kind: Rejected, class: "rejected", conns: 1},
		{name: "rejects in UTF-16, little end first", play: each(withBody("", inUTF16(binary.LittleEndian, "\ufeff"+rejection))), kind: Rejected, class: "rejected", conns: 1},
		{name: "rejects in UTF-16 without mark", play: each(withBody("", inUTF16(binary.LittleEndian, rejection))), kind: Rejected, class: "rejected", conns: 1},
		{name: "rejects at the second time", play: each(withBody("", `{"rejected":[],"rejected":["key"]}`)), kind: Rejected, class: "rejected", conns: 1},
		{name: "rejects a number", play: each(withBody("", `{"rejected":[7,null,{"key":1},["key"],"other"]}`)), kind: Delivered, conns: 1},
		{name: "rejects in an array", play: each(withBody("", `[{"rejected":["key"]}]`)), kind: Delivered, conns: 1},

		{name: "status 000", play: once("HTTP/1.1 000 No\r\nContent-Length: 2\r\n\r\n{}"), kind: Slow, class: "not_http", conns: 2},
		{name: "status 099", play: once("HTTP/1.1 099 No\r\nContent-Length: 2\r\n\r\n{}"), kind: Slow, class: "not_http", conns: 2},
		{name: "status 600", play: once("HTTP/1.1 600 No\r\nContent-Length: 2\r\n\r\n{}"), kind: Slow, class: "not_http", conns: 2},
		{name: "status -20", play: once("HTTP/1.1 -20 No\r\nContent-Length: 2\r\n\r\n{}"), kind: Slow, class: "not_http", conns: 2},
		{name: "status +20", play: once("HTTP/1.1 +20 No\r\nContent-Length: 2\r\n\r\n{}"), kind: Slow, class: "not_http", conns: 2},
		{name: "status of four digits", play: once("HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}"), kind: Slow, class: "not_http", conns: 2},
		{name: "status without reason", play: each("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}"), kind: Delivered, conns: 1},
		{name: "no status", play: once("HTTP/1.1\r\n\r\n"), kind: Slow, class: "not_http", conns: 2},
		{name: "000 first", play: once("HTTP/1.1 000 No\r\n\r\n" + okAnswer), kind: Slow, class: "not_http", conns: 2},
		{name: "HTTP/0.9", play: once("{}"), kind: Slow, class: "not_http", conns: 2},
		{name: "HTTP/2", play: func(p *peer) { p.say("\x00\x00\x12\x04\x00\x00\x00\x00\x00"); p.until() }, kind: Slow, class: "not_http", conns: 2},
		{name: "a banner", play: func(p *peer) { p.say("SSH-2.0-OpenSSH_9.9\r\n"); p.until() }, kind: Slow, class: "not_http", conns: 2},
		{name: "bare line feeds", play: each("HTTP/1.1 200 OK\nContent-Length: 2\n\n{}"), kind: Delivered, conns: 1},
		{name: "some bare line feeds", play: each("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\n{}"), kind: Delivered, conns: 1},
		{name: "other bare line feeds", play: each("HTTP/1.1 200 OK\nContent-Length: 2\n\r\n{}"), kind: Delivered, conns: 1},
		{name: "rejects with bare line feeds", play: each("HTTP/1.1 200 OK\nContent-Length: " + strconv.Itoa(len(rejection)) + "\n\n" + rejection), kind: Rejected, class: "rejected", conns: 1},
		{name: "bare line feeds in chunks", play: once("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\n{}\n0\n\n"), kind: Slow, class: "not_http", conns: 2},
		{name: "100 with bare line feeds", play: each("HTTP/1.1 100 Continue\n\n" + okAnswer), kind: Delivered, conns: 1},
		{name: "carriage returns alone", play: once("HTTP/1.1 200 OK\r\rContent-Length: 2\r\r{}"), kind: Retry, class: "reset", conns: 2},
		{name: "letters for a chunk", play: once(chunked + "xyz\r\n{}\r\n0\r\n\r\n"), kind: Slow, class: "not_http", conns: 2},
		{name: "a chunk that is too long", play: once(chunked + "2\r\n{}{}\r\n0\r\n\r\n"), kind: Slow, class: "not_http", conns: 2},

		{name: "huge header", play: once("HTTP/1.1 200 OK\r\nX: " + long + "\r\n\r\n{}"), kind: Slow, class: "headers_too_large", conns: 2},
		{name: "endless header", play: flood("HTTP/1.1 200 OK\r\nX: ", long), kind: Slow, class: "headers_too_large", conns: 2},
		{name: "endless headers", play: flood("HTTP/1.1 200 OK\r\n", "X: y\r\n"), kind: Slow, class: "headers_too_large", conns: 2},
		{name: "endless status line", play: flood("HTTP/1.1 200 ", long), kind: Slow, class: "headers_too_large", conns: 2},
		{name: "endless empty lines", play: flood("", "\r\n"), kind: Slow, class: "not_http", conns: 2},
		{name: "no HTTP", play: once("SSH-2.0-OpenSSH_9.9\r\n\r\n"), kind: Slow, class: "not_http", conns: 2},
		{name: "status that is no number", play: once("HTTP/1.1 2x0 OK\r\n\r\n"), kind: Slow, class: "not_http", conns: 2},

		{name: "closes before the answer", play: once(""), kind: Retry, class: "reset", conns: 2},
		{name: "closes before the request", play: func(*peer) {}, kind: Retry, class: "reset", conns: 2},
		{name: "closes in the header", play: once("HTTP/1.1 200 OK\r\nCont"), kind: Retry, class: "reset", conns: 2},
		{name: "closes in the body", play: once("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}"), kind: Retry, class: "reset", conns: 2},
		{name: "closes in a chunk", play: once(chunked + "10\r\n{}"), kind: Retry, class: "reset", conns: 2},
		{name: "never answers", play: func(p *peer) { p.until() }, kind: Retry, class: "timeout", conns: 2, hangs: true},
		{name: "answers unasked", play: func(p *peer) {
			p.say(strings.Replace(okAnswer, "\r\n", "\r\nConnection: close\r\n", 1))
			p.until()
		}, kind: Delivered, conns: 2},

		{name: "100 first", play: each("HTTP/1.1 100 Continue\r\n\r\n" + okAnswer), kind: Delivered, conns: 1},
		{name: "100 for ever", play: flood("", "HTTP/1.1 100 Continue\r\n\r\n"), kind: Slow, class: "not_http", conns: 2},
		{name: "103 for ever, long", play: flood("", "HTTP/1.1 103 Early Hints\r\nLink: "+long[:8000]+"\r\n\r\n"), kind: Slow, class: "not_http", conns: 2},
		{name: "101", play: each("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), kind: Slow, class: "http_101", conns: 2},

		{name: "rejects foreign keys", play: each(withBody("", `{"rejected":["other","KEY","key "]}`)), kind: Delivered, conns: 1},
		{name: "rejects ours among thousands", play: each(withBody("", `{"rejected":[`+few+`"key"]}`)), kind: Rejected, class: "rejected", conns: 1},
		{name: "rejects thousands of others", play: each(withBody("", `{"rejected":[`+few+`"other"]}`)), kind: Delivered, conns: 1},
		{name: "rejects ours after a million", play: once(million), kind: Slow, class: "body_too_large", conns: 2},
		{name: "rejects deep down", play: each(withBody("", `{"rejected":`+strings.Repeat("[", 30_000)+`"key"`+strings.Repeat("]", 30_000)+`}`)), kind: Delivered, conns: 1},
		{name: "rejects in no JSON", play: each(withBody("", `<p>"rejected":["key"]</p>`)), kind: Delivered, conns: 1},

		// Bytes after an answer must not become the answer to the next poke.
		{name: "two answers at once", play: once(okAnswer + badAnswer), kind: Delivered, conns: 2},
		{name: "two answers, chunks", play: once(chunked + "2\r\n{}\r\n0\r\n\r\n" + badAnswer), kind: Delivered, conns: 2},
		{name: "an answer after 204", play: once("HTTP/1.1 204 No Content\r\n\r\n" + badAnswer), kind: Delivered, conns: 2},
		{name: "a body with 204", play: once("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}"), kind: Delivered, conns: 2},
		{name: "an answer while idle", play: each(okAnswer), between: (*peer).speakUnasked, kind: Delivered, conns: 2},
		{name: "a byte while idle", play: each(okAnswer), between: func(p *peer) { p.say("H") }, kind: Delivered, conns: 2},
	}
}

// withBody returns a valid answer with its length.
func withBody(header, body string) string {
	var b strings.Builder
	_ = (&http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}).Write(&b)
	return strings.Replace(b.String(), "\r\n", "\r\n"+header, 1)
}

// redirect returns a redirect to an address that no poke may reach.
func redirect(status string) string {
	return "HTTP/1.1 " + status + " Elsewhere\r\nLocation: http://169.254.169.254/latest/meta-data\r\nContent-Length: 0\r\n\r\n"
}

// bomb returns gzip that inflates to a number of spaces and an end.
func bomb(spaces int, end string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for block := strings.Repeat(" ", 1<<20); spaces > 0; spaces -= len(block) {
		_, _ = io.WriteString(w, block)
	}
	_, _ = io.WriteString(w, end)
	_ = w.Close()
	return b.String()
}

// chunk returns one chunk of an answer.
func chunk(data string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(data), data) }

// deflated returns text for Content-Encoding: deflate, which some servers send without the
// wrapping of zlib.
func deflated(text string, wrapped bool) string {
	var b bytes.Buffer
	var w io.WriteCloser = zlib.NewWriter(&b)
	if !wrapped {
		w, _ = flate.NewWriter(&b, flate.BestSpeed)
	}
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

func inUTF16(order binary.AppendByteOrder, text string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

// each answers every request with the same bytes.
func each(answer string) func(*peer) {
	return func(p *peer) {
		for p.request() {
			p.say(answer)
		}
	}
}

// once answers one request and closes the connection.
func once(answer string) func(*peer) {
	sent := []byte(answer) // here, because allocations are measured later
	return func(p *peer) {
		p.request()
		_, _ = p.Write(sent)
	}
}

// flood answers a request with an answer that never ends.
func flood(begin, more string) func(*peer) {
	block := []byte(strings.Repeat(more, 1+4096/len(more)))
	return func(p *peer) {
		p.request()
		p.say(begin)
		for err := error(nil); err == nil; _, err = p.Write(block) {
		}
	}
}

// drip answers a byte at a time, slower than the time limit.
func drip(answer string) func(*peer) {
	return func(p *peer) {
		p.request()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; p.say(answer[i : i+1]); i++ {
			<-tick.C
		}
	}
}

// peer is the gateway's side of a connection.
type peer struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

// request reads a poke. It reports whether one arrived.
func (p *peer) request() bool {
	req, err := http.ReadRequest(p.r)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, req.Body)
	if req.URL.Path != pushgateway.NotifyPath || req.Header.Get("Accept-Encoding") != "identity" {
		p.t.Errorf("request for %s with header %v", req.URL.Path, req.Header)
	}
	return true
}

// say sends bytes. It reports whether that succeeded.
func (p *peer) say(text string) bool {
	_, err := io.WriteString(p, text)
	return err == nil
}

func (p *peer) speakUnasked() { p.say(badAnswer) }
func (p *peer) hangUp()       { _ = p.Close() }

// until reads until the other side hangs up.
func (p *peer) until() { _, _ = io.Copy(io.Discard, p) }

// Whatever a gateway does to a poke, the poke has its outcome, follows no redirect, reads and
// allocates a bounded number of bytes, and leaves no connection that the next poke must not
// use.
func TestHostileGateways(t *testing.T) {
	for _, row := range hostileAnswers() {
		t.Run(row.name, func(t *testing.T) {
			g := startHostile(t, nil, row.play)
			g.meet(row, "http")
		})
	}
}

// meet sends two pokes, and checks their outcomes and what they cost.
func (g *hostileGateway) meet(row hostile, scheme string) {
	g.t.Helper()
	timeout := time.Minute
	if row.hangs {
		timeout = 200 * time.Millisecond
	}
	c := NewClient(g.dial, timeout, 1)
	c.http.TLSConfig.RootCAs = g.roots
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range 2 {
		if i == 1 && row.between != nil {
			row.between(<-g.peers)
		}
		out := postOnce(c, scheme+"://"+g.address)
		if out.Kind != row.kind || out.Failure().String() != row.class {
			g.t.Errorf("poke %d: %v %q, want %v %q", i+1, out.Kind, out.Failure(), row.kind, row.class)
		}
	}
	runtime.ReadMemStats(&after)
	if n := len(g.dialled()); n != row.conns {
		g.t.Errorf("%d connections, want %d", n, row.conns)
	}
	for _, conn := range g.dialled() {
		if read := conn.read.Load(); read > 2*maxAnswerBytes {
			g.t.Errorf("%d bytes were read from a connection", read)
		}
	}
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 2<<20 {
		g.t.Errorf("two pokes allocated %d bytes", spent)
	}
	c.http.CloseIdleConnections()
}
