package poke

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"poked/events/eventstest"
	"poked/events/pushgateway"
)

// hostileGateway is a gateway with real sockets that treats each connection as a test wants.
type hostileGateway struct {
	t       *testing.T
	address string
	roots   *x509.CertPool // that the client trusts
	peers   chan *peer     // the connections, in order

	guarded DialFunc
	mu      sync.Mutex
	conns   []*countingConn
}

// startHostile starts a gateway, and ends it and its goroutines with the test. With secure it
// speaks TLS.
func startHostile(t *testing.T, secure *tls.Config, play func(*peer)) *hostileGateway {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	policy, err := pushgateway.NewPolicy([]string{"127.0.0.1"}, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	g := &hostileGateway{t: t, address: listener.Addr().String(), peers: make(chan *peer, 8), guarded: policy.Dialer(net.Dialer{})}
	var playing sync.WaitGroup
	playing.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if secure != nil {
				conn = tls.Server(conn, secure)
			}
			p := &peer{Conn: conn, t: t, r: bufio.NewReader(conn)}
			g.peers <- p
			playing.Go(func() {
				play(p)
				_ = p.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		for _, conn := range g.dialled() {
			_ = conn.Close()
		}
		playing.Wait()
	})
	return g
}

// dial opens a connection as the dispatcher does. Only the gateway's own address is allowed.
func (g *hostileGateway) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address != g.address {
		g.t.Errorf("%s was dialled", address)
	}
	conn, err := g.guarded(ctx, network, address)
	if err != nil {
		return nil, err
	}
	counting := &countingConn{TCPConn: conn.(*net.TCPConn)}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns = append(g.conns, counting)
	return counting, nil
}

func (g *hostileGateway) dialled() []*countingConn {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.conns)
}

// countingConn counts the bytes that are read.
type countingConn struct {
	*net.TCPConn
	read atomic.Int64
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// certificate makes a certificate for 127.0.0.1, changed by change, and signs it with its own
// key, or an authority's.
func certificate(t *testing.T, authority *tls.Certificate, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
	}
	change(template)
	signer := tls.Certificate{PrivateKey: key, Leaf: template}
	if authority != nil {
		signer = *authority
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.Leaf, key.Public(), signer.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// The same over TLS.
func TestHostileGatewaysTLS(t *testing.T) {
	eventstest.Long(t)
	authority := certificate(t, nil, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign })
	roots := x509.NewCertPool()
	roots.AddCert(authority.Leaf)
	with := func(change func(*x509.Certificate)) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{certificate(t, &authority, change)}}
	}
	good := with(func(*x509.Certificate) {})
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	said := make(chan struct{}, 2)
	for _, row := range []struct {
		hostile
		secure *tls.Config
	}{
		{hostile{name: "honest", play: each(okAnswer), kind: Delivered, conns: 1}, good},
		{hostile{name: "wrong name", play: each(okAnswer), kind: Slow, class: "tls", conns: 2},
			with(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.example"} })},
		{hostile{name: "expired", play: each(okAnswer), kind: Slow, class: "tls", conns: 2},
			with(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })},
		{hostile{name: "not yet valid", play: each(okAnswer), kind: Slow, class: "tls", conns: 2},
			with(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })},
		{hostile{name: "self-signed", play: each(okAnswer), kind: Slow, class: "tls", conns: 2},
			&tls.Config{Certificates: []tls.Certificate{certificate(t, nil, func(*x509.Certificate) {})}}},
		{hostile{name: "TLS 1.1", play: each(okAnswer), kind: Slow, class: "tls", conns: 2}, old},
		{hostile{name: "plain HTTP", play: func(p *peer) { p.say(okAnswer); p.until() }, kind: Slow, class: "tls", conns: 2}, nil},
		{hostile{name: "garbage for ever", play: flood("\x16\x03\x03\x40\x00", "\xff"), kind: Slow, class: "tls", conns: 2}, nil},
		{hostile{name: "no handshake", play: func(p *peer) { p.until() }, kind: Retry, class: "timeout", conns: 2, hangs: true}, nil},
		{hostile{name: "dripping handshake", play: drip("\x16\x03\x03\x10\x00" + bomb(1<<20, "")), kind: Retry, class: "timeout", conns: 2, hangs: true}, nil},
		{hostile{name: "never answers", play: func(p *peer) { p.until() }, kind: Retry, class: "timeout", conns: 2, hangs: true}, good},
		{hostile{name: "closes in the handshake", play: func(p *peer) { p.say("\x16\x03\x03") }, kind: Retry, class: "reset", conns: 2}, nil},
		{hostile{name: "closes while idle", play: each(okAnswer), between: (*peer).hangUp, kind: Delivered, conns: 2}, good},
		{hostile{name: "two answers in a record", play: once(okAnswer + badAnswer), kind: Delivered, conns: 2}, good},
		{hostile{name: "two answers in two records", play: func(p *peer) {
			p.request()
			p.say(okAnswer)
			p.say(badAnswer)
			said <- struct{}{}
		}, between: func(*peer) { <-said }, kind: Delivered, conns: 2}, good},
		{hostile{name: "an answer while idle", play: each(okAnswer), between: (*peer).speakUnasked, kind: Delivered, conns: 2}, good},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := startHostile(t, row.secure, row.play)
			g.roots = roots
			g.meet(row.hostile, "https")
		})
	}
}
