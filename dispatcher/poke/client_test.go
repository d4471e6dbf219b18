package poke

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"poked/events/eventstest"
	"poked/events/pushgateway"
)

// BenchmarkClient compares a kept-alive POST by fasthttp and by net/http, to the same cheap
// server. It is the reason why pokes are sent with fasthttp.
func BenchmarkClient(b *testing.B) {
	body := []byte(`{"notification":{"devices":[],"content":"` + strings.Repeat("x", 700) + `"}}`)
	url := eventstest.QuickGateway(b)
	b.Run("fasthttp", func(b *testing.B) {
		c := NewClient((&net.Dialer{}).DialContext, time.Minute, 64)
		inParallel(b, func() (err error) {
			c.Post(url, body, "", func(a Answer) { err = a.err })
			return err
		})
	})
	b.Run("net-http", func(b *testing.B) {
		c := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}
		inParallel(b, func() error {
			resp, err := c.Post(url, "application/json", bytes.NewReader(body))
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			return errors.Join(err, resp.Body.Close())
		})
	})
}

// inParallel measures post with 32 requests in flight.
func inParallel(b *testing.B, post func() error) {
	b.Helper()
	b.ReportAllocs()
	b.SetParallelism(32 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := post(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func postOnce(c *Client, base string) (out Outcome) {
	c.Post(base+pushgateway.NotifyPath, []byte(`{}`), "", func(a Answer) { out = Decide(a, "key", time.Now()) })
	return out
}

// startTLS starts a server that does not log failed handshakes.
func startTLS(cfg *tls.Config) *httptest.Server {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = cfg
	server.StartTLS()
	return server
}

// A proxy would bypass the address guard.
func TestG8ProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy got a request") }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	dialled := ""
	c := NewClient(func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = address
		return nil, io.EOF
	}, time.Minute, 4)
	postOnce(c, "http://push.example.org")
	if dialled != "push.example.org:80" {
		t.Errorf("dialled %q, want the gateway", dialled)
	}
}

// The client asks for the certificate of the server's name.
func TestClientSendsTheServerName(t *testing.T) {
	asked := make(chan string, 1)
	server := startTLS(&tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		asked <- hello.ServerName
		return nil, nil
	}})
	defer server.Close()
	c := NewClient(func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, server.Listener.Addr().String())
	}, time.Minute, 4)
	postOnce(c, "https://push.example.org")
	if name := <-asked; name != "push.example.org" {
		t.Errorf("asked for %q", name)
	}
}
