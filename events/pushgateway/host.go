package pushgateway

import (
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// canonicalName converts a host name to lower-case ASCII and checks its labels. ASCII
// names skip IDNA, whose strict profile refuses underscores, as in container networks,
// and hyphens that real names have.
func canonicalName(host string) (string, error) {
	name := strings.ToLower(host)
	if !isASCII(host) || strings.HasPrefix(name, "xn--") || strings.Contains(name, ".xn--") {
		mapped, err := idna.Lookup.ToASCII(host)
		if err != nil {
			return "", refuse("the host is not a valid internationalised name")
		}
		name = mapped
	}
	if strings.HasSuffix(name, ".") {
		return "", refuse("the host must not end with a dot")
	}
	if !validName(name) {
		return "", refuse("the host is not a valid name")
	}
	return name, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// validName checks the lengths and characters of a lower-case name (RFC 1123, plus the
// underscore).
func validName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// endsInNumber reports whether some resolver may parse the name as an IPv4 address: its
// last label is a decimal, octal or hexadecimal number (the rule of the URL standard's
// host parser).
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// literalAddr parses a host that is an IP address. It accepts only the canonical text,
// so that no two programs parse different addresses from it.
func literalAddr(host string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil || addr.String() != host:
		return netip.Addr{}, refuse("a numeric host must be a canonical IP address")
	case addr.Zone() != "":
		return netip.Addr{}, refuse("the address must not have a zone")
	case addr.Is4In6():
		return netip.Addr{}, refuse("an IPv4 address must be written as one")
	}
	return addr, nil
}

// checkPublicName refuses names that the public DNS does not have: the resolver of the
// local network, or the machine itself, answers for them.
func checkPublicName(name string) error {
	dot := strings.LastIndexByte(name, '.')
	switch name[dot+1:] {
	case "arpa", "corp", "home", "internal", "intranet", "lan", "local",
		"localdomain", "localhost", "onion", "private":
		return refuse("the host is a name of a local network")
	}
	if dot < 0 {
		return refuse("the host must be a full domain name")
	}
	return nil
}
