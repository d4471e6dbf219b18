package pushgateway

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"golang.org/x/net/proxy"
)

// A Route is the way that connections to gateways take. The zero Route is straight.
type Route struct {
	proxy  *url.URL // nil for none
	source netip.Addr
}

// ParseRoute returns the route through a proxy ("http://proxy:3128" or socks5, with
// user and password if it asks for them) and from a local address. Each may be empty. The
// error does not repeat the proxy, which may hold a password.
func ParseRoute(proxy, source string) (r Route, err error) {
	if source != "" {
		if r.source, err = netip.ParseAddr(source); err != nil || r.source.Zone() != "" {
			return Route{}, errors.New("the source must be an IP address of this machine")
		}
	}
	if proxy == "" {
		return r, nil
	}
	r.proxy, err = url.Parse(proxy)
	if err != nil || r.proxy.Hostname() == "" || r.proxy.Path != "" && r.proxy.Path != "/" {
		return Route{}, errors.New("the proxy must be a URL such as http://proxy.example.org:3128")
	}
	switch r.proxy.Scheme {
	case "http", "socks5":
		return r, nil
	}
	return Route{}, errors.New("the proxy must begin with http:// or socks5://")
}

// Via returns the policy with another route: its Dialer opens connections that way.
func (p *Policy) Via(r Route) *Policy {
	via := *p
	via.route = r
	return &via
}

// dialProxy opens a connection to host:port through the proxy. It looks the host up and
// checks its addresses itself, and asks the proxy for an address, never for a name: what
// the proxy connects to is what was checked.
func (p *Policy) dialProxy(ctx context.Context, d net.Dialer, host, port string) (net.Conn, error) {
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	number, ok := parsePort(port)
	if !ok {
		return nil, refuse("the port must be a number from 1 to 65535")
	}
	resolver := d.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	addrs, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("look up gateway: %w", err)
	}
	err = errors.New("dial gateway: it has no address")
	for _, addr := range addrs {
		target := netip.AddrPortFrom(addr.Unmap(), number)
		if err = p.CheckAddr(host, target); err != nil {
			continue
		}
		var conn net.Conn
		if conn, err = p.route.connect(ctx, d, target.String()); err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// connect opens a connection to an address through the proxy.
func (r Route) connect(ctx context.Context, d net.Dialer, target string) (net.Conn, error) {
	if r.proxy.Scheme == "socks5" {
		var auth *proxy.Auth
		if user := r.proxy.User; user != nil {
			password, _ := user.Password()
			auth = &proxy.Auth{User: user.Username(), Password: password}
		}
		socks, err := proxy.SOCKS5("tcp", r.address("1080"), auth, &d)
		if err != nil {
			return nil, fmt.Errorf("use proxy: %w", err)
		}
		conn, err := socks.(proxy.ContextDialer).DialContext(ctx, "tcp", target)
		if err != nil {
			return nil, fmt.Errorf("dial through proxy: %w", err)
		}
		return conn, nil
	}
	conn, err := d.DialContext(ctx, "tcp", r.address("80"))
	if err != nil {
		return nil, fmt.Errorf("dial proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err = r.tunnel(conn, target)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// address returns the host and port of the proxy.
func (r Route) address(port string) string {
	if own := r.proxy.Port(); own != "" {
		port = own
	}
	return net.JoinHostPort(r.proxy.Hostname(), port)
}

// maxProxyAnswer bounds what a proxy may answer to CONNECT, in bytes.
const maxProxyAnswer = 16 << 10

// tunnel asks an HTTP proxy for a connection to an address (RFC 9110, section 9.3.6).
func (r Route) tunnel(conn net.Conn, target string) error {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{}}
	if user := r.proxy.User; user != nil {
		password, _ := user.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := request.Write(conn); err != nil {
		return fmt.Errorf("ask proxy: %w", err)
	}
	in := bufio.NewReader(io.LimitReader(conn, maxProxyAnswer))
	response, err := http.ReadResponse(in, request)
	if err != nil {
		return fmt.Errorf("read answer of proxy: %w", err)
	}
	_ = response.Body.Close() // the answer to CONNECT has none, that of a failure does not matter
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the proxy answered %d", response.StatusCode)
	}
	if in.Buffered() > 0 { // a gateway says nothing before it is asked
		return errors.New("the proxy sent more than its answer")
	}
	return nil
}
