package poke

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// DialTimeout bounds the time to open a connection, with DNS.
	DialTimeout = 10 * time.Second
	// idleTimeout is how long an unused connection is kept. Common servers close theirs
	// after 5 s or more; the side that closes first sends no request into a connection
	// that is being closed.
	idleTimeout = 4 * time.Second
	// maxHeaderBytes bounds the header of a response.
	maxHeaderBytes = 16 << 10
)

// Client sends pokes. It uses fasthttp, because a kept-alive POST costs less than half of
// what it costs with net/http (BenchmarkClient), and adds the address guard at each dial, a
// limit on the whole time of a request, and limits on the response (exchange). It follows
// no redirect, uses no proxy and repeats no request.
type Client struct {
	http fasthttp.Client
}

// DialFunc opens a connection to a gateway.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// NewClient returns a client that opens connections with dial, at most perGateway to each
// gateway, and gives up a request after timeout.
func NewClient(dial DialFunc, timeout time.Duration, perGateway int) *Client {
	return &Client{
		http: fasthttp.Client{
			Name:      "poked",
			Transport: exchange{timeout},
			Dial: func(address string) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(context.Background(), DialTimeout)
				defer cancel()
				conn, err := dial(ctx, "tcp", address)
				if err != nil {
					return nil, err
				}
				return newSocket(conn), nil
			},
			TLSConfig: &tls.Config{
				MinVersion:         tls.VersionTLS12,
				ClientSessionCache: tls.NewLRUClientSessionCache(1024),
			},
			MaxConnsPerHost:               perGateway,
			MaxIdleConnDuration:           idleTimeout,
			ReadBufferSize:                maxHeaderBytes,
			DisablePathNormalizing:        true,
			DisableHeaderNamesNormalizing: false,
		},
	}
}

// Post sends one poke and calls read with the answer, whose body is valid only until read
// returns. traceparent is a header of the request unless it is "".
func (c *Client) Post(url string, body []byte, traceparent string, read func(Answer)) {
	req := fasthttp.AcquireRequest()
	defer fasthttp.ReleaseRequest(req)
	req.Header.SetContentType("application/json")
	if traceparent != "" {
		req.Header.Set("traceparent", traceparent)
	}
	c.send(req, url, body, read)
}

// Push is a poke for a browser: a request to its push service (RFC 8030, section 5).
type Push struct {
	URL           string        // the push resource
	Body          []byte        // encrypted, aes128gcm (RFC 8291)
	Authorization string        // who sends it (RFC 8292)
	TTL           time.Duration // how long it is kept for a browser that is away
	Urgency       string        // high, normal, low or very-low
	Topic         string        // it replaces what waits of the same topic; "" if it replaces nothing
}

// Push sends one poke to a push service, as Post does to a push gateway. It has no traceparent: push
// services are those of the browsers' makers.
func (c *Client) Push(p *Push, read func(Answer)) {
	req := fasthttp.AcquireRequest()
	defer fasthttp.ReleaseRequest(req)
	req.Header.SetContentType("application/octet-stream")
	req.Header.SetContentEncoding("aes128gcm")
	req.Header.Set(fasthttp.HeaderAuthorization, p.Authorization)
	req.Header.Set("TTL", strconv.FormatInt(int64(p.TTL/time.Second), 10))
	req.Header.Set("Urgency", p.Urgency)
	if p.Topic != "" {
		req.Header.Set("Topic", p.Topic)
	}
	c.send(req, p.URL, p.Body, read)
}

// send completes a request and sends it.
func (c *Client) send(req *fasthttp.Request, url string, body []byte, read func(Answer)) {
	resp := fasthttp.AcquireResponse()
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(url)
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.Set(fasthttp.HeaderAcceptEncoding, "identity") // without it any encoding is allowed (RFC 9110, section 12.5.3)
	req.SetBodyRaw(body)
	if err := c.http.Do(req, resp); err != nil {
		read(Answer{err: fmt.Errorf("post: %w", err)})
		return
	}
	read(Answer{
		Status:     resp.StatusCode(),
		retryAfter: string(resp.Header.Peek(fasthttp.HeaderRetryAfter)),
		encoding:   string(resp.Header.ContentEncoding()),
		Body:       resp.Body(),
	})
}
