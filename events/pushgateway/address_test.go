package pushgateway

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestCheckAddr(t *testing.T) {
	for _, c := range []struct{ addr, reason string }{ // reason "": allowed
		{"1.1.1.1", ""},
		{"8.8.8.8", ""},
		{"172.15.255.255", ""},
		{"172.32.0.0", ""},
		{"100.128.0.0", ""},
		{"2606:4700:4700::1111", ""},
		{"2a00::1", ""},
		{"::ffff:1.1.1.1", ""}, // contains 1.1.1.1

		{"0.0.0.0", "unicast"},
		{"::", "unicast"},
		{"224.0.0.1", "unicast"},
		{"ff02::1", "unicast"},
		{"255.255.255.255", "unicast"},
		{"fe80::1%eth0", "zone"},

		{"0.1.2.3", "0.0.0.0/8"},
		{"10.0.0.1", "10.0.0.0/8"},
		{"100.64.0.1", "100.64.0.0/10"},
		{"127.0.0.1", "127.0.0.0/8"},
		{"::ffff:127.0.0.1", "127.0.0.0/8"},
		{"169.254.1.1", "169.254.0.0/16"},
		{"172.16.0.1", "172.16.0.0/12"},
		{"172.31.255.255", "172.16.0.0/12"},
		{"192.0.0.8", "192.0.0.0/24"},
		{"192.0.2.1", "192.0.2.0/24"},
		{"192.31.196.1", "192.31.196.0/24"},
		{"192.52.193.1", "192.52.193.0/24"},
		{"192.88.99.1", "192.88.99.0/24"},
		{"192.168.1.1", "192.168.0.0/16"},
		{"192.175.48.1", "192.175.48.0/24"},
		{"198.19.0.1", "198.18.0.0/15"},
		{"198.51.100.1", "198.51.100.0/24"},
		{"203.0.113.1", "203.0.113.0/24"},
		{"240.0.0.1", "240.0.0.0/4"},

		{"::1", "global unicast"},
		{"::127.0.0.1", "global unicast"},
		{"64:ff9b::7f00:1", "global unicast"},
		{"64:ff9b:1::1", "global unicast"},
		{"100::1", "global unicast"},
		{"5f00::1", "global unicast"},
		{"fc00::1", "global unicast"},
		{"fd00::1", "global unicast"},
		{"fe80::1", "global unicast"},
		{"fec0::1", "global unicast"},
		{"4000::1", "global unicast"},
		{"2001::1", "2001::/23"}, // Teredo
		{"2001:1ff::1", "2001::/23"},
		{"2001:db8::1", "2001:db8::/32"},
		{"2002:7f00:1::1", "2002::/16"},
		{"2620:4f:8000::1", "2620:4f:8000::/48"},
		{"3fff:fff::1", "3fff::/20"},

		{"169.254.169.254", "metadata"},
		{"169.254.170.2", "metadata"},
		{"169.254.42.42", "metadata"},
		{"fd00:42::42", "metadata"},
		{"100.100.100.200", "metadata"},
		{"168.63.129.16", "metadata"},
		{"192.0.0.192", "metadata"},
		{"fd00:ec2::254", "metadata"},
		{"fd20:ce::254", "metadata"},
		{"::ffff:169.254.169.254", "metadata"},
	} {
		err := new(Policy).CheckAddr("push.example.org", netip.AddrPortFrom(netip.MustParseAddr(c.addr), 443))
		checkReason(t, c.addr, err, c.reason)
	}
	checkReason(t, "no address", new(Policy).CheckAddr("", netip.AddrPort{}), "not valid")
}

// checkReason checks that err is a refusal for the reason, or nil if the reason is "".
func checkReason(t *testing.T, what string, err error, reason string) {
	t.Helper()
	var r *Refusal
	switch {
	case err == nil && reason == "":
	case err == nil:
		t.Errorf("%s: allowed, want refused: %s", what, reason)
	case reason == "":
		t.Errorf("%s: %v, want allowed", what, err)
	case !errors.Is(err, ErrBlocked) || !errors.As(err, &r):
		t.Errorf("%s: %v is not a refusal", what, err)
	case !strings.Contains(r.Reason, reason):
		t.Errorf("%s: refused because %q, want %q", what, r.Reason, reason)
	}
}

func TestCheckAddrLists(t *testing.T) {
	for _, c := range []struct{ allow, deny, host, addr, reason string }{
		{"10.0.0.0/8", "", "a.example", "10.1.2.3:5000", ""},
		{"10.0.0.0/8", "", "a.example", "[::ffff:10.1.2.3]:80", ""}, // any port
		{"::ffff:10.1.2.3", "", "a.example", "10.1.2.3:80", ""},
		{"10.0.0.0/8", "", "a.example", "192.168.0.1:443", "192.168.0.0/16"},
		{"127.0.0.1:5000", "", "a.example", "127.0.0.1:5001", "127.0.0.0/8"},
		{"sygnal", "", "sygnal", "172.18.0.2:5000", ""},
		{"sygnal", "", "SYGNAL.", "172.18.0.2:5000", ""},
		{"sygnal", "", "other", "172.18.0.2:5000", "172.16.0.0/12"},
		{"sygnal:5000", "", "sygnal", "172.18.0.2:5001", "172.16.0.0/12"},

		// Deny takes precedence over allow, by address and by name, and over the public
		// internet.
		{"10.0.0.0/8", "10.1.0.0/16", "a.example", "10.1.2.3:443", "denies"},
		{"10.0.0.0/8", "10.1.0.0/16", "a.example", "10.2.2.3:443", ""},
		{"sygnal", "172.18.0.0/16", "sygnal", "172.18.0.2:443", "denies"},
		{"10.0.0.0/8", "bad.example", "bad.example.", "10.0.0.1:443", "denies"},
		{"", "1.1.1.1", "a.example", "1.1.1.1:443", "denies"},
		{"", "1.1.1.1:8443", "a.example", "1.1.1.1:443", ""},
		{"", "1.1.1.1", "a.example", "[::ffff:1.1.1.1]:443", "denies"},

		// A metadata address needs an entry of its own.
		{"0.0.0.0/0", "", "a.example", "169.254.169.254:80", "metadata"},
		{"169.254.0.0/16", "", "a.example", "169.254.169.254:80", "metadata"},
		{"fd00::/8", "", "a.example", "[fd00:ec2::254]:80", "metadata"},
		{"sygnal", "", "sygnal", "169.254.169.254:80", "metadata"},
		{"169.254.169.254", "", "a.example", "169.254.169.254:80", ""},

		// No entry allows an address that is not unicast.
		{"0.0.0.0/0 sygnal", "", "sygnal", "0.0.0.0:443", "unicast"},
		{"fe80::/10 sygnal", "", "sygnal", "[fe80::1%lo]:443", "zone"},

		// Behind NAT64 the contained IPv4 address decides.
		{"64:ff9b::/96", "", "a.example", "[64:ff9b::101:101]:443", ""},
		{"64:ff9b::/96", "", "a.example", "[64:ff9b::a00:1]:443", "10.0.0.0/8"},
		{"64:ff9b::/96", "", "a.example", "[64:ff9b::a9fe:a9fe]:443", "metadata"},
		{"64:ff9b::/96 10.0.0.0/8", "", "a.example", "[64:ff9b::a00:1]:443", ""},

		// Unusual ports are refused unless the gateway is on the allow list.
		{"", "", "a.example", "1.1.1.1:22", "port"},
		{"", "", "a.example", "1.1.1.1:6379", "port"},
		{"a.example", "", "a.example", "1.1.1.1:22", ""},
	} {
		p := policy(t, c.allow, c.deny, false)
		what := strings.Join([]string{"allow", c.allow, "deny", c.deny, c.host, c.addr}, " ")
		checkReason(t, what, p.CheckAddr(c.host, netip.MustParseAddrPort(c.addr)), c.reason)
	}
}

// TestSpecialNetworkEdges pins the networks in the library's tables, so that no update
// drops or moves one unnoticed.
func TestSpecialNetworkEdges(t *testing.T) {
	for _, c := range []struct{ network, first, last, before, after string }{ // "" if the neighbour is not public either
		{"0.0.0.0/8", "0.0.0.1", "0.255.255.255", "", "1.0.0.0"},
		{"10.0.0.0/8", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"},
		{"100.64.0.0/10", "100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"},
		{"127.0.0.0/8", "127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"},
		{"169.254.0.0/16", "169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"},
		{"172.16.0.0/12", "172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"},
		{"192.0.0.0/24", "192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"},
		{"192.0.2.0/24", "192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"},
		{"192.31.196.0/24", "192.31.196.0", "192.31.196.255", "192.31.195.255", "192.31.197.0"},
		{"192.52.193.0/24", "192.52.193.0", "192.52.193.255", "192.52.192.255", "192.52.194.0"},
		{"192.88.99.0/24", "192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"},
		{"192.168.0.0/16", "192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"},
		{"192.175.48.0/24", "192.175.48.0", "192.175.48.255", "192.175.47.255", "192.175.49.0"},
		{"198.18.0.0/15", "198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"},
		{"198.51.100.0/24", "198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"},
		{"203.0.113.0/24", "203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"},
		{"240.0.0.0/4", "240.0.0.0", "255.255.255.254", "", ""},
		{"2001::/23", "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"},
		{"2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"},
		{"2002::/16", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"},
		{"2620:4f:8000::/48", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::"},
		{"3fff::/20", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"},
	} {
		check := func(addr, reason string) {
			t.Helper()
			if addr != "" {
				err := new(Policy).CheckAddr("push.example.org", netip.AddrPortFrom(netip.MustParseAddr(addr), 443))
				checkReason(t, addr, err, reason)
			}
		}
		check(c.first, c.network)
		check(c.last, c.network)
		check(c.before, "")
		check(c.after, "")
	}
}
