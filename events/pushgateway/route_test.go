package pushgateway

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxyOf is a proxy of a test: the targets that it was asked for.
type proxyOf struct {
	url string

	mu     sync.Mutex
	asked  []string
	answer int // instead of a connection, if not 0
}

func (p *proxyOf) note(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, target)
}

func (p *proxyOf) targets() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.asked, " ")
}

// join copies between two connections until one ends.
func join(a, b net.Conn) {
	go func() { _, _ = io.Copy(a, b); _ = a.Close() }() // ends with the test's connections
	_, _ = io.Copy(b, a)
	_ = b.Close()
}

// httpProxy starts a proxy that knows CONNECT, for the user "me" with the password
// "SECRET".
func httpProxy(t *testing.T) *proxyOf {
	p := &proxyOf{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.note(r.Method + " " + r.Host)
		switch {
		case r.Header.Get("Proxy-Authorization") != "Basic bWU6U0VDUkVU":
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		case p.answer != 0:
			w.WriteHeader(p.answer)
			return
		}
		out, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		in, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(in, "HTTP/1.1 200 Connection established\r\n\r\n")
		join(in, out)
	}))
	t.Cleanup(server.Close)
	p.url = "http://me:SECRET@" + server.Listener.Addr().String()
	return p
}

// socksProxy starts a SOCKS5 proxy for IPv4 addresses (RFC 1928).
func socksProxy(t *testing.T) *proxyOf {
	p := &proxyOf{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	serve := func(in net.Conn) {
		var greeting [2]byte
		_, _ = io.ReadFull(in, greeting[:])
		_, _ = io.CopyN(io.Discard, in, int64(greeting[1]))
		_, _ = in.Write([]byte{5, 0})
		var request [10]byte
		_, _ = io.ReadFull(in, request[:])
		if request[3] != 1 {
			p.note("a name")
			_ = in.Close()
			return
		}
		target := netip.AddrPortFrom(netip.AddrFrom4([4]byte(request[4:8])), binary.BigEndian.Uint16(request[8:])).String()
		p.note("CONNECT " + target)
		out, err := net.Dial("tcp", target)
		if err != nil {
			_ = in.Close()
			return
		}
		_, _ = in.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		join(in, out)
	}
	go func() { // ends with the listener
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(in)
		}
	}()
	p.url = "socks5://" + listener.Addr().String()
	return p
}

// echo starts a gateway that answers with the address of who connects.
func echo(t *testing.T) (port string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		_, _ = io.WriteString(w, host)
	}))
	t.Cleanup(server.Close)
	_, port, _ = net.SplitHostPort(server.Listener.Addr().String())
	return port
}

// via returns a policy that allows 127.0.0.1 alone, with a route.
func via(t *testing.T, proxy, source string) *Policy {
	t.Helper()
	route, err := ParseRoute(proxy, source)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := NewPolicy([]string{"127.0.0.1"}, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Via(route)
}

// A proxy is asked for addresses that the policy allows, never for a name, which it could
// look up differently; nothing that is refused reaches it.
func TestG8ProxyIsAskedForAllowedAddressesOnly(t *testing.T) {
	names := map[string][]string{
		"push.example.net": {"127.0.0.1"}, "inside.test": {"169.254.169.254"}, "both.test": {"10.0.0.1", "127.0.0.1"}, "nowhere.test": nil,
	}
	dns := resolver(t, func(name string) []string { return names[strings.ToLower(name)] })
	for kind, start := range map[string]func(*testing.T) *proxyOf{"http": httpProxy, "socks5": socksProxy} {
		for host, want := range map[string]string{
			"push.example.net": "", "both.test": "", "127.0.0.1": "", "[::ffff:127.0.0.1]": "",
			"inside.test": "blocked", "169.254.169.254": "blocked", "nowhere.test": "error",
		} {
			t.Run(kind+" "+host, func(t *testing.T) {
				p, port := start(t), echo(t)
				dial := via(t, p.url, "").Dialer(net.Dialer{Resolver: dns, Timeout: 5 * time.Second})
				client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
				response, err := client.Get("http://" + host + ":" + port)
				if want != "" {
					if err == nil || (want == "blocked") != errors.Is(err, ErrBlocked) || p.targets() != "" {
						t.Errorf("%v; the proxy was asked for %q", err, p.targets())
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				if body, _ := io.ReadAll(response.Body); string(body) != "127.0.0.1" || p.targets() != "CONNECT 127.0.0.1:"+port {
					t.Errorf("%q; the proxy was asked for %q", body, p.targets())
				}
			})
		}
	}
}

// A proxy that refuses, or says nothing, fails the dial in time, and its password is not in
// the error.
func TestProxyThatFails(t *testing.T) {
	p := httpProxy(t)
	silent, _ := net.Listen("tcp", "127.0.0.1:0")
	defer silent.Close()
	for name, url := range map[string]string{
		"refuses":        p.url,
		"wrong password": strings.Replace(p.url, "SECRET", "SECRET2", 1),
		"silent":         "http://me:SECRET@" + silent.Addr().String(),
		"no proxy":       "http://me:SECRET@127.0.0.1:1",
		"no HTTP":        "http://me:SECRET@127.0.0.1:" + func() string { port, _ := gateway(t); return port }(),
		"no SOCKS":       "socks5://me:SECRET@127.0.0.1:" + func() string { port, _ := gateway(t); return port }(),
	} {
		p.answer = http.StatusForbidden
		began := time.Now()
		conn, err := via(t, url, "").Dialer(net.Dialer{Timeout: 300 * time.Millisecond})(context.Background(), "tcp", "127.0.0.1:443")
		if err == nil || conn != nil || strings.Contains(err.Error(), "SECRET") || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v, %v", name, conn, err)
		}
	}
}

// Connections leave from the address that the operator chooses.
func TestSourceAddress(t *testing.T) {
	port := echo(t)
	client := &http.Client{Transport: &http.Transport{DialContext: via(t, "", "127.0.0.7").Dialer(net.Dialer{}), DisableKeepAlives: true}}
	response, err := client.Get("http://127.0.0.1:" + port)
	if err != nil {
		t.Skipf("127.0.0.7 is no address here: %v", err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != "127.0.0.7" {
		t.Errorf("it came from %s", body)
	}
}

func TestParseRoute(t *testing.T) {
	for _, bad := range [][2]string{
		{"proxy:3128", ""}, {"ftp://proxy", ""}, {"https://proxy", ""}, {"http://", ""}, {"http://me:SECRET@pro xy", ""}, {"http://proxy/path", ""}, {"", "eth0"}, {"", "fe80::1%eth0"}, {"", "10.0.0.0/8"},
	} {
		if _, err := ParseRoute(bad[0], bad[1]); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
