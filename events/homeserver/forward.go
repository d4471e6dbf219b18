package homeserver

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strings"
)

// Forward sends a client's request, with this body and this escaped path, to the
// homeserver and returns the answer with any status. An error means that there was no
// answer, so it is unknown whether the homeserver executed the request.
func (c *Client) Forward(ctx context.Context, r *http.Request, path string, body []byte) (*Answer, error) {
	header := http.Header{}
	for _, name := range []string{"Authorization", "Content-Type", "Accept", "Accept-Language", "User-Agent", "X-Forwarded-Proto"} {
		if values := r.Header.Values(name); len(values) > 0 {
			header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if from := forwardedFor(r); from != "" {
		header.Set("X-Forwarded-For", from)
	}
	return c.do(ctx, r.Method, path, r.URL.RawQuery, header, bytes.NewReader(body))
}

// forwardedFor returns the X-Forwarded-For header: the client and the proxies so far.
func forwardedFor(r *http.Request) string {
	list := r.Header.Values("X-Forwarded-For")
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		list = append(list[:len(list):len(list)], host)
	}
	return strings.Join(list, ", ")
}
