package pushgateway

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A URL is the canonical form of a push gateway's URL, or of a browser's push resource, that a
// Policy allows. Two URLs of the same gateway have the same Origin. Its texts are built once, since
// each poke needs them.
type URL struct {
	scheme string // "https" or "http"
	host   string // lower-case ASCII name, or an address without brackets
	port   uint16
	origin string // with the port
	web    string // the origin without the scheme's default port
	text   string // all of it
}

// Scheme returns "https" or "http".
func (u *URL) Scheme() string { return u.scheme }

// Host returns the lower-case ASCII host; an IPv6 address has no brackets.
func (u *URL) Host() string { return u.host }

// Port returns the port, which is the scheme's default if the URL has none.
func (u *URL) Port() uint16 { return u.port }

// HostPort returns the address to dial, always with a port: "example.org:443" or
// "[2606:4700::1111]:8443".
func (u *URL) HostPort() string { return u.origin[len(u.scheme)+len("://"):] }

// Origin returns the gateway's identity: scheme, host and port, always with the port
// ("https://example.org:443"). It contains nothing secret.
func (u *URL) Origin() string { return u.origin }

// WebOrigin returns the origin as browsers write it (RFC 6454, section 6.2): without the
// scheme's default port.
func (u *URL) WebOrigin() string { return u.web }

// String returns the canonical URL, without the scheme's default port. What checked it accepts
// it again and returns an equal URL.
func (u *URL) String() string { return u.text }

// setText builds the texts of a URL whose scheme, host and port are set. path and query are
// escaped; the query has no "?".
func (u *URL) setText(path, query string) {
	u.origin = u.scheme + "://" + net.JoinHostPort(u.host, strconv.Itoa(int(u.port)))
	if query != "" {
		path += "?" + query
	}
	end := len(u.origin)
	if u.port == defaultPort(u.scheme) {
		end = strings.LastIndexByte(u.origin, ':')
	}
	u.text = u.origin[:end] + path
	u.web = u.text[:end]
}

// CheckURL checks whether raw may be registered as a gateway's URL, and returns its
// canonical form. The error is a *Refusal.
//
//   - The URL, as given and in canonical form, has at most MaxURLBytes of UTF-8 without
//     white space, control characters, backslashes, user name or fragment. The path is
//     exactly NotifyPath. A query of printable ASCII is kept unchanged: the specification
//     restricts only the path, and deployed homeservers accept a query.
//   - The scheme is https, or http where the operator allows it.
//   - The host is a full domain name, ASCII after IDNA, or a canonical address
//     that CheckAddr accepts.
//   - The port is 443, or 1024 and above except for the ports that the Fetch standard
//     blocks and those of Redis and memcached.
//
// Single-label and local names, any address and any port are accepted if they are on the
// operator's allow list. A trailing dot, a zone and a non-canonical address never are: the
// allow list cannot contain them.
func (p *Policy) CheckURL(raw string) (*URL, error) {
	parsed, err := parseURL(raw)
	if err == nil && parsed.EscapedPath() != NotifyPath {
		err = refuse("the path must be " + NotifyPath)
	}
	if err != nil {
		return nil, err
	}
	return p.check(parsed)
}

// CheckResource checks whether raw may be registered as a browser's push resource (RFC 8030,
// section 2), and returns its canonical form. It may have any path; all else is as for
// CheckURL. The error is a *Refusal.
func (p *Policy) CheckResource(raw string) (*URL, error) {
	parsed, err := parseURL(raw)
	if err != nil {
		return nil, err
	}
	return p.check(parsed)
}

// check checks what depends on the policy.
func (p *Policy) check(parsed *url.URL) (*URL, error) {
	port, err := urlPort(parsed)
	if err != nil {
		return nil, err
	}
	u := &URL{scheme: parsed.Scheme, port: port}
	if err := p.checkHost(u, parsed.Host, parsed.Hostname()); err != nil {
		return nil, err
	}
	u.setText(cmp.Or(parsed.EscapedPath(), "/"), parsed.RawQuery)
	if len(u.text) > MaxURLBytes { // IDNA may make a name longer
		return nil, refuseLength()
	}
	return u, nil
}

// checkHost checks the host and sets it. bare is the authority's host without brackets
// and port.
func (p *Policy) checkHost(u *URL, authority, bare string) error {
	u.host = strings.ToLower(bare)
	if strings.HasPrefix(authority, "[") {
		return p.checkLiteral(u)
	}
	name, err := canonicalName(u.host)
	if err != nil {
		return err
	}
	if endsInNumber(name) {
		return p.checkLiteral(u) // as written: "①.1.1.1" maps to an address but is not one
	}
	u.host = name
	return p.checkName(u)
}

// parseURL checks everything that does not depend on the policy.
func parseURL(raw string) (*url.URL, error) {
	if err := checkText(raw); err != nil {
		return nil, err
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "": // err quotes the URL and must not be returned
		return nil, refuse("this is not a valid URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, refuse("the scheme must be https")
	case u.User != nil:
		return nil, refuse("the URL must not hold a user name or password")
	case strings.Contains(raw, "#"):
		return nil, refuse("the URL must not have a fragment")
	case u.Hostname() == "":
		return nil, refuse("the URL has no host")
	case !isASCII(u.RawQuery):
		return nil, refuse("the query must be plain ASCII")
	}
	return u, nil
}

func checkText(raw string) error {
	if len(raw) > MaxURLBytes {
		return refuseLength()
	}
	if !utf8.ValidString(raw) {
		return refuse("the URL is not valid UTF-8")
	}
	odd := func(r rune) bool { return r == '\\' || unicode.IsSpace(r) || unicode.IsControl(r) }
	if strings.ContainsFunc(raw, odd) {
		return refuse("the URL must not hold white space, control characters or backslashes")
	}
	return nil
}

func refuseLength() error {
	return refuse("the URL is longer than " + strconv.Itoa(MaxURLBytes) + " bytes")
}

func urlPort(u *url.URL) (uint16, error) {
	if strings.HasSuffix(u.Host, ":") {
		return 0, refuse("the port is empty")
	}
	digits := u.Port()
	if digits == "" {
		return defaultPort(u.Scheme), nil
	}
	port, ok := parsePort(digits)
	if !ok {
		return 0, refuse("the port must be a number from 1 to 65535")
	}
	return port, nil
}

func defaultPort(scheme string) uint16 {
	if scheme == "http" {
		return 80
	}
	return 443
}

// checkLiteral checks a URL whose host is an address.
func (p *Policy) checkLiteral(u *URL) error {
	addr, err := literalAddr(u.host)
	if err != nil {
		return err
	}
	if err := p.checkScheme(u, p.allow.hasAddr(addr, u.port)); err != nil {
		return err
	}
	return p.CheckAddr("", netip.AddrPortFrom(addr, u.port))
}

// checkName checks a URL whose host is a name.
func (p *Policy) checkName(u *URL) error {
	allowed := p.allow.hasHost(u.host, u.port)
	if err := p.checkScheme(u, allowed); err != nil {
		return err
	}
	if p.deny.hasHost(u.host, u.port) {
		return refuse("the operator denies this gateway")
	}
	if allowed {
		return nil
	}
	if err := checkPublicName(u.host); err != nil {
		return err
	}
	return checkPort(u.port)
}

func (p *Policy) checkScheme(u *URL, allowed bool) error {
	if u.scheme == "https" || p.allowHTTP && allowed {
		return nil
	}
	return refuse("the scheme must be https")
}

// checkPort allows the ports on which people run gateways, and refuses those of
// services that might parse a poke as their own protocol.
func checkPort(port uint16) error {
	if port != 443 && port < 1024 {
		return refuse("the port must be 443 or above 1023")
	}
	switch port {
	case 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566,
		6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080, // Fetch standard, "bad port"
		6379, 11211: // Redis, memcached
		return refuse("the port belongs to another service")
	}
	return nil
}
