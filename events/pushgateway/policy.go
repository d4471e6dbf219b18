package pushgateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// A Policy is an operator's decision about which gateways are allowed. It is immutable
// and safe for concurrent use. The zero Policy allows only the public internet over
// HTTPS.
type Policy struct {
	allow, deny entries
	allowHTTP   bool
	route       Route
}

// NewPolicy parses the operator's lists. An entry is a network ("10.0.0.0/8"), an IP
// address ("10.1.2.3", "fd00::5") or a host name ("sygnal"). An address or a name may
// have a port ("sygnal:5000", "[fd00::5]:5000"), and then means only that port. A name
// does not include its subdomains. With allowHTTP, gateways on the allow list may use
// plain HTTP. The error has one line for each bad entry, which names the entry.
func NewPolicy(allow, deny []string, allowHTTP bool) (*Policy, error) {
	allowed, errAllow := parseEntries("allow", allow)
	denied, errDeny := parseEntries("deny", deny)
	if err := errors.Join(errAllow, errDeny); err != nil {
		return nil, err
	}
	return &Policy{allow: allowed, deny: denied, allowHTTP: allowHTTP}, nil
}

// An entry is either a name (host is set) or a network (prefix is valid). Port 0 means
// any port.
type entry struct {
	host   string
	prefix netip.Prefix
	port   uint16
}

type entries []entry

// hasHost reports whether an entry has this host, which must be canonical.
func (l entries) hasHost(host string, port uint16) bool {
	for _, e := range l {
		if e.host != "" && e.host == host && e.hasPort(port) {
			return true
		}
	}
	return false
}

// hasAddr reports whether an entry contains addr, which must not be IPv4-mapped.
func (l entries) hasAddr(addr netip.Addr, port uint16) bool {
	for _, e := range l {
		if e.prefix.Contains(addr) && e.hasPort(port) {
			return true
		}
	}
	return false
}

// hasVeryAddr reports whether an entry is exactly addr and not a wider network.
func (l entries) hasVeryAddr(addr netip.Addr, port uint16) bool {
	for _, e := range l {
		if e.prefix.IsSingleIP() && e.prefix.Addr() == addr && e.hasPort(port) {
			return true
		}
	}
	return false
}

func (e entry) hasPort(port uint16) bool { return e.port == 0 || e.port == port }

func parseEntries(list string, texts []string) (entries, error) {
	var parsed entries
	var errs []error
	for _, text := range texts {
		e, err := parseEntry(strings.TrimSpace(text))
		if err != nil {
			errs = append(errs, fmt.Errorf("parse gateway %s entry %q: %w", list, text, err))
			continue
		}
		parsed = append(parsed, e)
	}
	return parsed, errors.Join(errs...)
}

func parseEntry(text string) (entry, error) {
	if strings.Contains(text, "/") {
		return parseNetwork(text)
	}
	host, port, err := splitEntry(text)
	if err != nil {
		return entry{}, err
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addrEntry(addr, port)
	}
	name, err := canonicalName(host)
	if err != nil {
		return entry{}, errors.New("neither a network, an IP address nor a host name")
	}
	if endsInNumber(name) {
		return entry{}, errors.New("a numeric host must be a full IP address")
	}
	return entry{host: name, port: port}, nil
}

func parseNetwork(text string) (entry, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return entry{}, errors.New("not a network such as 10.0.0.0/8")
	}
	if prefix.Addr().Is4In6() {
		return entry{}, errors.New("write an IPv4 network in its own notation")
	}
	// A mistyped prefix length must not silently allow a wider network.
	if prefix != prefix.Masked() {
		return entry{}, fmt.Errorf("address bits beyond the prefix length, write %s", prefix.Masked())
	}
	return entry{prefix: prefix}, nil
}

func addrEntry(addr netip.Addr, port uint16) (entry, error) {
	if addr.Zone() != "" {
		return entry{}, errors.New("an address with a zone is never dialled")
	}
	addr = addr.Unmap()
	return entry{prefix: netip.PrefixFrom(addr, addr.BitLen()), port: port}, nil
}

// splitEntry splits an entry into its host, without the brackets of an IPv6 address,
// and its port, 0 if there is none.
func splitEntry(text string) (host string, port uint16, err error) {
	if strings.Count(text, ":") > 1 && !strings.HasPrefix(text, "[") {
		return text, 0, nil // an IPv6 address without brackets and port
	}
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		return strings.TrimSuffix(inner, "]"), 0, nil
	}
	if !strings.Contains(text, ":") {
		return text, 0, nil
	}
	host, digits, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, errors.New("not of the form host:port")
	}
	port, ok := parsePort(digits)
	if !ok {
		return "", 0, errors.New("the port must be a number from 1 to 65535")
	}
	return host, port, nil
}

// parsePort parses a port from 1 to 65535 in plain decimal, without sign or leading
// zero.
func parsePort(digits string) (uint16, bool) {
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || digits[0] == '0' {
		return 0, false
	}
	return uint16(n), true
}
