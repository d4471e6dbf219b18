package pushgateway

import (
	"net/netip"
	"strings"

	"code.dny.dev/ssrf"
)

// CheckAddr returns nil if a connection to ap may be opened for host, the name or
// address in the URL. Call it for every address that is tried, after DNS, as
// [Policy.Dialer] does. An IPv4-mapped IPv6 address is checked as the IPv4 address that
// it contains. The error is a *Refusal.
func (p *Policy) CheckAddr(host string, ap netip.AddrPort) error {
	if !ap.IsValid() || ap.Addr().Zone() != "" {
		return refuse("the address is not valid or has a zone")
	}
	addr, port := ap.Addr().Unmap(), ap.Port()
	host = foldHost(host)
	switch {
	case p.deny.hasHost(host, port) || p.deny.hasAddr(addr, port):
		return refuse("the operator denies this gateway")
	case !isUnicast(addr):
		return refuse("the address is not a unicast address")
	case isMetadata(addr) && !p.allow.hasVeryAddr(addr, port):
		return refuse("the address is a cloud metadata service")
	case p.allow.hasHost(host, port) || p.allow.hasAddr(addr, port):
		return p.checkTranslated(host, addr, port)
	}
	if reason := specialNetwork(addr); reason != "" {
		return refuse(reason)
	}
	return checkPort(port)
}

// checkTranslated checks the IPv4 address that a NAT64 address of RFC 6052 contains. An
// operator of an IPv6-only network allows 64:ff9b::/96 for the public internet, not for
// every private IPv4 network.
func (p *Policy) checkTranslated(host string, addr netip.Addr, port uint16) error {
	if !ssrf.IPv6NAT64Prefix.Contains(addr) {
		return nil
	}
	b := addr.As16()
	return p.CheckAddr(host, netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), port))
}

// foldHost returns the canonical form of a host, as entries store it. A trailing dot
// names the same host, so it must not bypass the deny list.
func foldHost(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func isUnicast(addr netip.Addr) bool {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return !addr.IsUnspecified() && !addr.IsMulticast() && addr != broadcast
}

// isMetadata reports whether addr is one of the fixed addresses at which clouds serve
// credentials and configuration to their virtual machines.
func isMetadata(addr netip.Addr) bool {
	switch addr.String() {
	case "169.254.169.254", // most clouds
		"169.254.170.2", "169.254.170.23", // AWS: task and pod credentials
		"169.254.0.23",                 // Tencent
		"169.254.42.42", "fd00:42::42", // Scaleway
		"100.100.100.200", // Alibaba, inside carrier NAT
		"168.63.129.16",   // Azure, inside public space
		"192.0.0.192",     // Oracle
		"fd00:ec2::254", "fd00:ec2::23",
		"fd20:ce::254": // Google
		return true
	}
	return false
}

// specialNetwork returns the reason why addr is not on the public internet, or "" if it
// is. The library's tables are the IANA special-purpose registries. They include ranges
// that IANA calls globally reachable (AS112, AMT, parts of 2001::/23), in which no
// gateway runs.
func specialNetwork(addr netip.Addr) string {
	denied := ssrf.IPv4DeniedPrefixes
	if addr.Is6() {
		if !ssrf.IPv6GlobalUnicast.Contains(addr) {
			return "the address is outside global unicast (RFC 4291)"
		}
		denied = ssrf.IPv6DeniedPrefixes
	}
	for _, prefix := range denied {
		if prefix.Contains(addr) {
			return "the address is in the special-purpose network " + prefix.String()
		}
	}
	return ""
}
