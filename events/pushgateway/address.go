package pushgateway

import (
	"net/netip"
	"strings"
)

// CheckAddr reports whether a connection to ap may be opened on behalf of host,
// the name (or address) the URL has. It must be asked for every address tried,
// after DNS; [Policy.Dialer] does. An IPv4-mapped IPv6 address is judged as the
// IPv4 address it stands for. The error is a *Refusal.
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
	if network := specialNetwork(addr); network != "" {
		return refuse("the address lies in " + network)
	}
	return checkPort(port)
}

// checkTranslated judges the IPv4 address that a NAT64 address of RFC 6052
// stands for. An operator in an IPv6-only network allows 64:ff9b::/96 to reach
// the public internet, not to reach every private IPv4 network.
func (p *Policy) checkTranslated(host string, addr netip.Addr, port uint16) error {
	if !netip.MustParsePrefix("64:ff9b::/96").Contains(addr) {
		return nil
	}
	b := addr.As16()
	return p.CheckAddr(host, netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), port))
}

// foldHost brings a host to the form in which entries keep it. A trailing dot
// names the same host, so it must not slip past the deny list.
func foldHost(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func isUnicast(addr netip.Addr) bool {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return !addr.IsUnspecified() && !addr.IsMulticast() && addr != broadcast
}

// isMetadata knows the fixed addresses under which clouds hand out credentials
// and configuration to whoever connects from inside.
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

// specialNetwork returns the network that keeps addr from being global unicast,
// with its purpose, or "" for an address of the public internet.
func specialNetwork(addr netip.Addr) string {
	if addr.Is6() && !netip.MustParsePrefix("2000::/3").Contains(addr) {
		return "no global unicast network (RFC 4291)"
	}
	for _, s := range specialNetworks() {
		if s.prefix.Contains(addr) {
			return s.prefix.String() + " (" + s.purpose + ")"
		}
	}
	return ""
}

type special struct {
	prefix  netip.Prefix
	purpose string
}

// specialNetworks lists the IANA special-purpose registries of IPv4 and, within
// 2000::/3, of IPv6; multicast is isUnicast's. Ranges that IANA calls globally
// reachable (AS112, AMT, parts of 2001::/23) are in it too: no gateway lives there.
func specialNetworks() []special {
	cidr := netip.MustParsePrefix
	return []special{
		{cidr("0.0.0.0/8"), "this network, RFC 791"},
		{cidr("10.0.0.0/8"), "private use, RFC 1918"},
		{cidr("100.64.0.0/10"), "carrier NAT, RFC 6598"},
		{cidr("127.0.0.0/8"), "loopback, RFC 1122"},
		{cidr("169.254.0.0/16"), "link local, RFC 3927"},
		{cidr("172.16.0.0/12"), "private use, RFC 1918"},
		{cidr("192.0.0.0/24"), "protocol assignments, RFC 6890"},
		{cidr("192.0.2.0/24"), "documentation, RFC 5737"},
		{cidr("192.31.196.0/24"), "AS112, RFC 7535"},
		{cidr("192.52.193.0/24"), "AMT, RFC 7450"},
		{cidr("192.88.99.0/24"), "6to4 relays, RFC 7526"},
		{cidr("192.168.0.0/16"), "private use, RFC 1918"},
		{cidr("192.175.48.0/24"), "AS112, RFC 7534"},
		{cidr("198.18.0.0/15"), "benchmarking, RFC 2544"},
		{cidr("198.51.100.0/24"), "documentation, RFC 5737"},
		{cidr("203.0.113.0/24"), "documentation, RFC 5737"},
		{cidr("240.0.0.0/4"), "reserved, RFC 1112"},
		{cidr("2001::/23"), "protocol assignments with Teredo, RFC 2928"},
		{cidr("2001:db8::/32"), "documentation, RFC 3849"},
		{cidr("2002::/16"), "6to4, RFC 3056"},
		{cidr("2620:4f:8000::/48"), "AS112, RFC 7534"},
		{cidr("3fff::/20"), "documentation, RFC 9637"},
	}
}
