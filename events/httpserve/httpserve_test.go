package httpserve

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are in-process pipes, which work in a bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// site is a server that refuses every PUT without reading its body, answers a GET at
// once, and answers /slow when the test allows it.
type site struct {
	t     *testing.T
	pipes *pipes
	slow  chan struct{}
	log   *strings.Builder
	stop  func() error // stops the server and returns the result of Run
}

func start(t *testing.T, maxConns int) *site {
	s := &site{t: t, pipes: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}, slow: make(chan struct{}), log: &strings.Builder{}}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	mux.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /slow", func(http.ResponseWriter, *http.Request) { <-s.slow })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, s.pipes, Config{
			Handler: mux, MaxConns: maxConns, WriteTimeout: time.Minute, StopTimeout: 7 * time.Second,
			Log: slog.New(slog.NewTextHandler(s.log, nil)),
		})
	}()
	s.stop = func() error { cancel(); return <-ended }
	return s
}

// client is one connection to a site.
type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

// connect opens a connection. It does not wait until the site accepts it.
func (s *site) connect() client {
	here, there := net.Pipe()
	go func() {
		select {
		case s.pipes.conns <- there:
		case <-s.pipes.closed:
		}
	}()
	return client{s.t, here, bufio.NewReader(here)}
}

func (c client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// status reads an answer and returns its status.
func (c client) status() int {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

func (c client) get(path string) {
	c.t.Helper()
	c.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
}

// end waits until the site closes the connection and returns how long that took.
func (c client) end() time.Duration {
	began := time.Now()
	_, _ = io.Copy(io.Discard, c.in)
	return time.Since(began)
}

// A client that stops in the middle of a request is cut off, whether or not the handler
// wanted the rest.
func TestHalfARequestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		sent  string
		after time.Duration
	}{
		"nothing":             {"", headerTimeout},
		"half a header":       {"PUT / HTTP/1.1\r\nHost: x\r\nContent-", headerTimeout},
		"half a refused body": {"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", readTimeout},
		"half a chunked body": {"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{", readTimeout},
		"a body not for it":   {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", readTimeout},
		"no next request":     {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", idleTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := start(t, 4)
			c2 := s.connect()
			c2.send(c.sent)
			if took := c2.end(); took < c.after || took > c.after+time.Second {
				t.Errorf("%s: the connection ended after %s, want %s", name, took, c.after)
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// At most MaxConns connections are accepted; the next one waits until one is closed.
func TestConnectionsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := start(t, 4), time.Now()
		for range 4 {
			c := s.connect()
			c.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
			go c.end() // a pipe has no buffer
		}
		next := s.connect()
		next.get("/") // blocks until the connection is accepted
		next.status()
		if took := time.Since(began); took < readTimeout || took > readTimeout+time.Second {
			t.Errorf("the connection above the limit was answered after %s, want %s", took, readTimeout)
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
}

// Idle connections do not keep new ones out: the longest idle is closed first, and none
// is closed while there are few.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := start(t, 8), time.Now()
		var all []client
		for range 6 { // three quarters
			c := s.connect()
			c.get("/")
			c.status()
			synctest.Wait() // until it is idle, so that the order is fixed
			all = append(all, c)
		}
		all[0].get("/") // was the longest idle, and no longer is
		all[0].status()
		synctest.Wait()
		for range 3 {
			c := s.connect()
			c.get("/slow")
			all = append(all, c)
		}
		synctest.Wait()
		for i, gone := range []bool{false, true, true, true, false, false} {
			_ = all[i].SetReadDeadline(time.Now().Add(time.Second))
			_, err := all[i].in.ReadByte()
			if (err == io.EOF) != gone {
				t.Errorf("connection %d: %v, gone: %t", i, err, gone)
			}
		}
		close(s.slow)
		for _, c := range all[6:] {
			c.status()
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("took %s", took)
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A stop waits for requests in progress up to a limit, and returns no error.
func TestStop(t *testing.T) {
	for _, answered := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := start(t, 4)
			c := s.connect()
			c.get("/slow")
			synctest.Wait()
			time.AfterFunc(5*time.Second, func() {
				if answered {
					close(s.slow)
				}
			})
			status := make(chan int, 1)
			go func() {
				res, err := http.ReadResponse(c.in, nil)
				if err != nil {
					status <- 0
					return
				}
				_ = res.Body.Close()
				status <- res.StatusCode
			}()
			began := time.Now()
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			if got := <-status; (got == http.StatusOK) != answered {
				t.Errorf("answered: %t, got %d", answered, got)
			}
			if took := time.Since(began); took > 8*time.Second || strings.Contains(s.log.String(), "cut off") == answered {
				t.Errorf("took %s, and logged %s", took, s.log)
			}
			if !answered {
				close(s.slow) // so that the handler ends
			}
		})
	}
}

// If the listener fails, Run returns an error.
func TestListenerFails(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	err = Run(t.Context(), listener, Config{Handler: http.NotFoundHandler(), MaxConns: 1, StopTimeout: time.Second, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "accept") {
		t.Error(err)
	}
}

// A server leaves three quarters of the files that the process may open to others.
func TestConnectionsAreFewerThanFiles(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	low := files
	low.Cur = 100
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files) }()
	for most, want := range map[int]int{1: 1, 25: 25, 26: 25, 4096: 25} {
		if got := Connections(most); got != want {
			t.Errorf("%d of %d connections, want %d", got, most, want)
		}
	}
	low.Cur = 1
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low)
	if got := Connections(9); got != 1 {
		t.Errorf("with one file: %d", got)
	}
}
