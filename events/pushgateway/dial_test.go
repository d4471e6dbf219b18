package pushgateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// gateway listens on 127.0.0.1 and counts the connections that it accepts. It returns
// its port.
func gateway(t *testing.T) (port string, accepted *atomic.Int32) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	accepted = new(atomic.Int32)
	go func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			_ = c.Close()
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, accepted
}

// resolver returns a resolver that sends its A queries to a DNS server on 127.0.0.1,
// which calls answer for each.
func resolver(t *testing.T, answer func(name string) []string) *net.Resolver {
	t.Helper()
	server, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() { // ends when the socket is closed
		buf := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply, err := dnsReply(buf[:n], answer); err == nil {
				_, _ = server.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", server.LocalAddr().String())
	}}
}

func dnsReply(question []byte, answer func(name string) []string) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	if q.Type == dnsmessage.TypeA {
		for _, addr := range answer(strings.TrimSuffix(q.Name.String(), ".")) {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
				Body:   &dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()},
			})
		}
	}
	return m.Pack()
}

func TestG8DialerOpensOnlyAllowedConnections(t *testing.T) {
	names := map[string][]string{
		"push.example.net": {"127.0.0.1"}, // a public name that resolves to a private address
		"two.example.net":  {"10.255.255.1", "127.0.0.1"},
		"sygnal.test":      {"127.0.0.1"},
		"meta.test":        {"169.254.169.254"},
	}
	dns := resolver(t, func(name string) []string { return names[strings.ToLower(name)] })
	for _, c := range []struct {
		name, allow, deny, host string
		want                    bool
	}{
		{"loopback", "", "", "127.0.0.1", false},
		{"loopback allowed", "127.0.0.1", "", "127.0.0.1", true},
		{"loopback allowed by network", "127.0.0.0/8", "", "127.0.0.1", true},
		{"allowed and denied", "127.0.0.0/8", "127.0.0.1", "127.0.0.1", false},
		{"mapped", "", "", "[::ffff:127.0.0.1]", false},
		{"mapped, allowed", "127.0.0.1", "", "[::ffff:127.0.0.1]", true},
		{"other address allowed", "127.0.0.2", "", "127.0.0.1", false},
		{"public name inside", "", "", "push.example.net", false},
		{"public name inside, address allowed", "127.0.0.1", "", "push.example.net", true},
		{"name allowed", "sygnal.test", "", "sygnal.test", true},
		{"name allowed, other case", "sygnal.test", "", "Sygnal.Test", true},
		{"other name allowed", "sygnal.test", "", "push.example.net", false},
		{"name denied", "127.0.0.1", "sygnal.test", "sygnal.test", false},
		{"name to metadata", "meta.test", "", "meta.test", false},
		{"first address refused, second allowed", "127.0.0.1", "", "two.example.net", true},
		{"all addresses refused", "", "", "two.example.net", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			port, accepted := gateway(t)
			dial := policy(t, c.allow, c.deny, false).Dialer(net.Dialer{Resolver: dns, Timeout: 10 * time.Second})
			conn, err := dial(t.Context(), "tcp", c.host+":"+port)
			if !c.want {
				if !errors.Is(err, ErrBlocked) || accepted.Load() != 0 {
					t.Fatalf("error %v, %d connections", err, accepted.Load())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, conn) // until the gateway closes the connection, which it has then accepted
			_ = conn.Close()
			if accepted.Load() != 1 {
				t.Errorf("%d connections", accepted.Load())
			}
		})
	}
}

// DNS rebinding: a name that resolves to another address after it was checked is
// refused.
func TestG8DialerWithstandsRebinding(t *testing.T) {
	var asked atomic.Int32
	dns := resolver(t, func(string) []string {
		if asked.Add(1) == 1 {
			return []string{"1.1.1.1"}
		}
		return []string{"127.0.0.1"}
	})
	port, accepted := gateway(t)
	p := new(Policy)
	addrs, err := dns.LookupNetIP(t.Context(), "ip4", "push.example.net")
	if err != nil || len(addrs) != 1 {
		t.Fatal(addrs, err)
	}
	if err := p.CheckAddr("push.example.net", netip.AddrPortFrom(addrs[0], 8443)); err != nil {
		t.Fatalf("first answer: %v", err)
	}
	_, err = p.Dialer(net.Dialer{Resolver: dns})(t.Context(), "tcp", "push.example.net:"+port)
	if !errors.Is(err, ErrBlocked) || accepted.Load() != 0 {
		t.Errorf("second answer: %v, %d connections", err, accepted.Load())
	}
}

// The check also works if the caller's dialer has a Control function of its own.
func TestG8DialerReplacesControl(t *testing.T) {
	port, accepted := gateway(t)
	open := func(string, string, syscall.RawConn) error { return nil }
	openContext := func(context.Context, string, string, syscall.RawConn) error { return nil }
	dial := new(Policy).Dialer(net.Dialer{Control: open, ControlContext: openContext})
	for _, network := range []string{"tcp", "tcp4", "udp", "unix", "ip4:icmp"} {
		if _, err := dial(t.Context(), network, "127.0.0.1:"+port); !errors.Is(err, ErrBlocked) {
			t.Errorf("%s: %v", network, err)
		}
	}
	if _, err := dial(t.Context(), "tcp", "127.0.0.1"); !errors.Is(err, ErrBlocked) {
		t.Errorf("no port: %v", err)
	}
	if accepted.Load() != 0 {
		t.Errorf("%d connections", accepted.Load())
	}
}

// A refusal is still recognisable after an HTTP client has wrapped it.
func TestG8RefusalSurvivesHTTPClient(t *testing.T) {
	port, _ := gateway(t)
	transport := &http.Transport{DialContext: new(Policy).Dialer(net.Dialer{})}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:"+port+NotifyPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	var refusal *Refusal
	if !errors.Is(err, ErrBlocked) || !errors.As(err, &refusal) {
		t.Errorf("error %v", err)
	}
}

// A failure that is not a refusal must not look like one: it is retried sooner.
func TestDialerDistinguishesFailureFromRefusal(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	dial := policy(t, "127.0.0.1", "", false).Dialer(net.Dialer{})
	_, err = dial(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil || errors.Is(err, ErrBlocked) {
		t.Errorf("closed port: %v", err)
	}
}
