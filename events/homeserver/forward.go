package homeserver

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strings"
)

// Forward sends a client's request on as it came, with this body, to the
// homeserver's path that is given as it is to be sent, and returns the answer
// whatever its status. An error says that there is none: nobody knows whether the
// homeserver did what was asked.
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

// forwardedFor returns whom the request came from, through which proxies.
func forwardedFor(r *http.Request) string {
	list := r.Header.Values("X-Forwarded-For")
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		list = append(list[:len(list):len(list)], host)
	}
	return strings.Join(list, ", ")
}
