package pushgateway

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestCheckURLAdmits(t *testing.T) {
	for _, c := range []struct{ raw, canonical, origin string }{
		{"https://push.example.net/_matrix/push/v1/notify", "", "https://push.example.net:443"},
		{"https://up.example.edu:8443/_matrix/push/v1/notify", "", "https://up.example.edu:8443"},
		{"https://push.example.net:5000/_matrix/push/v1/notify", "", "https://push.example.net:5000"},
		{"https://push.example.net:443/_matrix/push/v1/notify", "https://push.example.net/_matrix/push/v1/notify", "https://push.example.net:443"},
		{"HTTPS://PUSH.Example.NET/_matrix/push/v1/notify", "https://push.example.net/_matrix/push/v1/notify", "https://push.example.net:443"},
		{"https://bücher.example/_matrix/push/v1/notify", "https://xn--bcher-kva.example/_matrix/push/v1/notify", "https://xn--bcher-kva.example:443"},
		{"https://BÜCHER。example/_matrix/push/v1/notify", "https://xn--bcher-kva.example/_matrix/push/v1/notify", "https://xn--bcher-kva.example:443"},
		{"https://XN--bcher-kva.example/_matrix/push/v1/notify", "https://xn--bcher-kva.example/_matrix/push/v1/notify", "https://xn--bcher-kva.example:443"},
		{"https://r3---edge_1.example.net/_matrix/push/v1/notify", "", "https://r3---edge_1.example.net:443"},
		{"https://1.1.1.1/_matrix/push/v1/notify", "", "https://1.1.1.1:443"},
		{"https://[2606:4700::1111]:8443/_matrix/push/v1/notify", "", "https://[2606:4700::1111]:8443"},
		{"https://[2606:4700::ABCD]/_matrix/push/v1/notify", "https://[2606:4700::abcd]/_matrix/push/v1/notify", "https://[2606:4700::abcd]:443"},
		{"https://push.example.net/_matrix/push/v1/notify?up=https://a.example/x%20y", "", "https://push.example.net:443"},
		{"https://push.example.net/_matrix/push/v1/notify?", "https://push.example.net/_matrix/push/v1/notify", "https://push.example.net:443"},
		{"https://localhost.example.net/_matrix/push/v1/notify", "", "https://localhost.example.net:443"},
		{"https://127.0.0.1.example.net/_matrix/push/v1/notify", "", "https://127.0.0.1.example.net:443"},
	} {
		u, err := new(Policy).CheckURL(c.raw)
		if err != nil {
			t.Errorf("%s: %v", c.raw, err)
			continue
		}
		if c.canonical == "" {
			c.canonical = c.raw
		}
		if u.String() != c.canonical || u.Origin() != c.origin {
			t.Errorf("%s: %s of %s, want %s of %s", c.raw, u, u.Origin(), c.canonical, c.origin)
		}
	}
}

// A push resource may have any path, and is requested exactly there.
func TestCheckResource(t *testing.T) {
	for _, c := range []struct{ raw, canonical, origin string }{
		{"https://push.example.net/", "", "https://push.example.net"},
		{"https://push.example.net", "https://push.example.net/", "https://push.example.net"},
		{"https://push.example.net:443/wpush/v2/gAAA", "https://push.example.net/wpush/v2/gAAA", "https://push.example.net"},
		{"https://push.example.net/fcm/send/c%3AAPA91b-_x:y", "", "https://push.example.net"},
		{"https://push.example.net/a//b/../c%2Fd", "", "https://push.example.net"},
		{"https://push.example.net:8443/up?id=1&up=%20", "", "https://push.example.net:8443"},
		{"https://push.example.net/" + NotifyPath, "", "https://push.example.net"},
		{"https://push.example.net/ü", "https://push.example.net/%C3%BC", "https://push.example.net"},
	} {
		if c.canonical == "" {
			c.canonical = c.raw
		}
		u, err := new(Policy).CheckResource(c.raw)
		if err != nil || u.String() != c.canonical || u.WebOrigin() != c.origin {
			t.Errorf("%s: %v, %v, want %s of %s", c.raw, u, err, c.canonical, c.origin)
			continue
		}
		if again, err := new(Policy).CheckResource(u.String()); err != nil || *again != *u {
			t.Errorf("%s: %v, %v when it is checked again", c.raw, again, err)
		}
	}
	for _, bad := range []string{
		"", "push.example.net/x", "http://push.example.net/x", "https://10.0.0.1/x", "https://push/x", "https://push.example.net:25/x",
		"https://a:b@push.example.net/x", "https://push.example.net/x#y", "https://push.example.net/x y", "https://push.example.net/%zz",
		"https://169.254.169.254/latest/meta-data", "https://push.example.net/" + strings.Repeat("x", MaxURLBytes),
	} {
		if u, err := new(Policy).CheckResource(bad); !errors.Is(err, ErrBlocked) {
			t.Errorf("%s: %v, %v", bad, u, err)
		}
	}
	if _, err := policy(t, "127.0.0.1", "", true).CheckResource("http://127.0.0.1:25/x"); err != nil {
		t.Errorf("the operator's list: %v", err)
	}
}

func TestCheckURLParts(t *testing.T) {
	u, err := policy(t, "::1", "", true).CheckURL("http://[::1]/_matrix/push/v1/notify")
	if err != nil {
		t.Fatal(err)
	}
	if u.Scheme() != "http" || u.Host() != "::1" || u.Port() != 80 || u.HostPort() != "[::1]:80" {
		t.Errorf("scheme %s, host %s, port %d, dial %s", u.Scheme(), u.Host(), u.Port(), u.HostPort())
	}
}

// Only the scheme's own default port is omitted.
func TestCheckURLKeepsForeignDefaultPort(t *testing.T) {
	p := policy(t, "sygnal", "", true)
	for raw, want := range map[string]string{
		"http://sygnal:80" + NotifyPath:   "http://sygnal" + NotifyPath,
		"http://sygnal:443" + NotifyPath:  "http://sygnal:443" + NotifyPath,
		"https://sygnal:80" + NotifyPath:  "https://sygnal:80" + NotifyPath,
		"https://sygnal:443" + NotifyPath: "https://sygnal" + NotifyPath,
	} {
		u, err := p.CheckURL(raw)
		if err != nil || u.String() != want {
			t.Errorf("%s: %v, %v, want %s", raw, u, err, want)
		}
	}
}

func TestCheckURLRefuses(t *testing.T) {
	const path = "/_matrix/push/v1/notify"
	for _, c := range []struct{ raw, reason string }{
		{"", "scheme"},
		{"push.example.net" + path, "scheme"},
		{"//push.example.net" + path, "scheme"},
		{"http://push.example.net" + path, "scheme must be https"},
		{"ftp://push.example.net" + path, "scheme must be https"},
		{"https:push.example.net" + path, "valid URL"},
		{"https://" + path, "no host"},
		{"https://:443" + path, "no host"},
		{"https://push.example.net:0x50" + path, "valid URL"},

		{"https://push.example.net", "path"},
		{"https://push.example.net/", "path"},
		{"https://push.example.net" + path + "/", "path"},
		{"https://push.example.net/" + path, "path"},
		{"https://push.example.net/x/.." + path, "path"},
		{"https://push.example.net/_matrix/push/v1/Notify", "path"},
		{"https://push.example.net/%5Fmatrix/push/v1/notify", "path"},
		{"https://push.example.net/_matrix/push/v1/notify;a", "path"},

		{"https://push.example.net" + path + "#", "fragment"},
		{"https://push.example.net" + path + "#x", "fragment"},
		{"https://push.example.net" + path + "?é", "ASCII"},
		{"https://user@push.example.net" + path, "user name"},
		{"https://user:secret@push.example.net" + path, "user name"},
		{"https://@push.example.net" + path, "user name"},
		{"https://push.example.net@10.0.0.1" + path, "user name"},
		{"https://push.example.net" + path + "?" + strings.Repeat("x", MaxURLBytes), "longer"},
		{longest("https://ü.example.net" + path + "?"), "longer"}, // in ASCII
		{" https://push.example.net" + path, "white space"},
		{"https://push.example.net" + path + "\n", "white space"},
		{"https://push.example.net" + path + "?a\tb", "white space"},
		{"https://push.example.net" + path + "?a\u00a0b", "white space"},
		{"https://push.example.net\x00" + path, "control"},
		{"https://push.example.net\u0085" + path, "control"},
		{"https://push.example.net\\@10.0.0.1" + path, "backslash"},
		{"https://push.example.net\xff" + path, "UTF-8"},

		{"https://push.example.net:" + path, "port is empty"},
		{"https://push.example.net:0" + path, "port must be a number"},
		{"https://push.example.net:0443" + path, "port must be a number"},
		{"https://push.example.net:65536" + path, "port must be a number"},
		{"https://push.example.net:22" + path, "443 or above"},
		{"https://push.example.net:80" + path, "443 or above"},
		{"https://push.example.net:1023" + path, "443 or above"},
		{"https://push.example.net:6379" + path, "another service"},
		{"https://push.example.net:6667" + path, "another service"},

		{"https://localhost" + path, "local network"},
		{"https://LOCALHOST" + path, "local network"},
		{"https://ⓛocalhost" + path, "local network"},
		{"https://a.localhost" + path, "local network"},
		{"https://printer.local" + path, "local network"},
		{"https://metadata.google.internal" + path, "local network"},
		{"https://1.0.0.127.in-addr.arpa" + path, "local network"},
		{"https://sygnal" + path, "full domain name"},
		{"https://push.example.net." + path, "end with a dot"},
		{"https://localhost." + path, "end with a dot"},
		{"https://1.1.1.1." + path, "end with a dot"},
		{"https://push.example.net。" + path, "end with a dot"},
		{"https://." + path, "end with a dot"},
		{"https://push..example.net" + path, "valid name"},
		{"https://.example.net" + path, "valid name"},
		{"https://-push.example.net" + path, "valid name"},
		{"https://push-.example.net" + path, "valid name"},
		{"https://a*b.example.net" + path, "valid name"},
		{"https://" + strings.Repeat("a", 64) + ".example.net" + path, "valid name"},
		{"https://" + strings.Repeat("a.", 127) + "net" + path, "valid name"},
		{"https://xn--a.example.net" + path, "internationalised"},
		{"https://a\u202eb.example.net" + path, "internationalised"},
		{"https://ex%61mple.net" + path, "valid URL"},

		{"https://127.0.0.1" + path, "127.0.0.0/8"},
		{"https://10.0.0.1:8443" + path, "10.0.0.0/8"},
		{"https://169.254.169.254" + path, "metadata"},
		{"https://1.1.1.1:25" + path, "443 or above"},
		{"https://[::1]" + path, "global unicast"},
		{"https://[fd00::1]" + path, "global unicast"},
		{"https://[::ffff:127.0.0.1]" + path, "IPv4 address must be written as one"},
		{"https://[::ffff:1.1.1.1]" + path, "IPv4 address must be written as one"},
		{"https://[::ffff:7f00:1]" + path, "canonical"},
		{"https://[1.1.1.1]" + path, "valid URL"},
		{"https://::1" + path, "valid"},
		{"https://2606:4700::1111" + path, "valid"},
		{"https://[fe80::1%25eth0]" + path, "zone"},
		{"https://[fe80::1%eth0]" + path, "valid URL"},
		{"https://[2606:4700:0::1111]" + path, "canonical"},
		{"https://[2606:4700:0000::1111]" + path, "canonical"},
		{"https://①②⑦.0.0.1" + path, "canonical"},
		{"https://127。0。0。1" + path, "canonical"},
		{"https://①.1.1.1" + path, "canonical"},
		{"https://0x7f.1" + path, "canonical"},
		{"https://0x7f000001" + path, "canonical"},
		{"https://0X7F.0.0.0x1" + path, "canonical"},
		{"https://2130706433" + path, "canonical"},
		{"https://127.1" + path, "canonical"},
		{"https://0177.0.0.1" + path, "canonical"},
		{"https://0" + path, "canonical"},
		{"https://1.1.1.256" + path, "canonical"},
		{"https://1.1.1.1.1" + path, "canonical"},
		{"https://a.0x" + path, "canonical"},
	} {
		u, err := new(Policy).CheckURL(c.raw)
		checkReason(t, c.raw, err, c.reason)
		if u != nil {
			t.Errorf("%s: a URL was returned with the refusal", c.raw)
		}
	}
}

// longest extends a URL to the maximum length.
func longest(begin string) string { return begin + strings.Repeat("x", MaxURLBytes-len(begin)) }

func TestCheckURLAdmitsTheLongest(t *testing.T) {
	if _, err := new(Policy).CheckURL(longest("https://push.example.net" + NotifyPath + "?")); err != nil {
		t.Error(err)
	}
}

func TestCheckURLLists(t *testing.T) {
	const path = "/_matrix/push/v1/notify"
	for _, c := range []struct {
		allow, deny string
		http        bool
		raw, reason string
	}{
		{"sygnal", "", false, "https://sygnal:5000" + path, ""},
		{"sygnal", "", false, "https://sygnal:22" + path, ""},
		{"sygnal", "", false, "http://sygnal:5000" + path, "https"},
		{"sygnal", "", true, "http://sygnal:5000" + path, ""},
		{"sygnal", "", true, "http://SYGNAL" + path, ""},
		{"sygnal", "", true, "http://sygnal." + path, "dot"},
		{"sygnal", "", true, "http://a.sygnal" + path, "https"},
		{"sygnal", "", true, "http://push.example.net" + path, "https"},
		{"push_gateway", "", true, "http://push_gateway" + path, ""},
		{"localhost", "", true, "http://localhost:5000" + path, ""},
		{"localhost", "", true, "http://127.0.0.1:5000" + path, "https"},
		{"127.0.0.1", "", true, "http://127.0.0.1:5000" + path, ""},
		{"127.0.0.1", "", false, "http://127.0.0.1:5000" + path, "https"},
		{"127.0.0.0/8", "", false, "https://127.3.3.3" + path, ""},
		{"127.0.0.0/8", "", false, "https://127.1" + path, "canonical"},
		{"127.0.0.0/8", "", true, "http://localhost" + path, "https"},
		{"::1", "", true, "http://[::1]:5000" + path, ""},
		{"fe80::/10", "", false, "https://[fe80::1%25eth0]" + path, "zone"},
		{"bücher.example:22", "", false, "https://xn--bcher-kva.example:22" + path, ""},
		{"0.0.0.0/0", "", true, "http://169.254.169.254" + path, "metadata"},
		{"", "push.example.net", false, "https://Push.Example.net" + path, "denies"},
		{"", "push.example.net", false, "https://a.push.example.net" + path, ""},
		{"push.example.net", "push.example.net", false, "https://push.example.net" + path, "denies"},
		{"", "1.0.0.0/8", false, "https://1.1.1.1" + path, "denies"},
		{"10.0.0.0/8", "10.0.0.1", true, "http://10.0.0.1" + path, "denies"},
	} {
		_, err := policy(t, c.allow, c.deny, c.http).CheckURL(c.raw)
		checkReason(t, "allow "+c.allow+" deny "+c.deny+" "+c.raw, err, c.reason)
	}
}

// A URL may contain a secret, so no error quotes any part of it (G9).
func TestG9RefusalKeepsURLSecret(t *testing.T) {
	for _, raw := range []string{
		"https://host/?tok3n", "ht tp://tok3n", "tok3n", "https://u:tok3n@a.example/", "https://tok3n:99999/",
		"https://a.example:tok3n/", "https://%zztok3n/", "https://tok3n\x7f/",
		"https://tok3n/_matrix/push/v1/notify", "https://10.0.0.1/_matrix/push/v1/notify?tok3n",
	} {
		_, err := new(Policy).CheckURL(raw)
		if err == nil || strings.Contains(err.Error(), "tok3n") {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, raw := range []string{
		"https://push.example.net/_matrix/push/v1/notify", "https://bücher.example:8443/_matrix/push/v1/notify?a=b",
		"http://①②⑦.0.0.1/_matrix/push/v1/notify", "https://[::1]:5000/_matrix/push/v1/notify",
		"https://1.1.1.1/_matrix/push/v1/notify", "https://xn--a-.b/_matrix/push/v1/notify", "https://[fe80::1%25lo]/",
		"http://sygnal/_matrix/push/v1/notify",
	} {
		f.Add(raw)
	}
	strict, open := new(Policy), policy(f, "0.0.0.0/0 ::/0 sygnal localhost", "1.1.1.1", true)
	f.Fuzz(func(t *testing.T, raw string) {
		for _, p := range []*Policy{strict, open} {
			checkCanonical(t, p, raw)
		}
	})
}

// checkCanonical checks that net/url, and CheckURL itself, parse an accepted URL to the
// same parts.
func checkCanonical(t *testing.T, p *Policy, raw string) {
	u, err := p.CheckURL(raw)
	if err != nil {
		if !errors.Is(err, ErrBlocked) || u != nil {
			t.Fatalf("%q: %v, %v", raw, u, err)
		}
		return
	}
	parsed, err := url.Parse(u.String())
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	if parsed.Hostname() != u.Host() || parsed.Scheme != u.Scheme() || parsed.Path != NotifyPath || parsed.User != nil {
		t.Fatalf("%q: net/url reads %#v from %s", raw, parsed, u)
	}
	if again, err := p.CheckURL(u.String()); err != nil || *again != *u {
		t.Fatalf("%q: %s is then read as %v, %v", raw, u, again, err)
	}
	if origin, err := url.Parse(u.Origin()); err != nil || origin.Host != u.HostPort() {
		t.Fatalf("%q: origin %s: %v", raw, u.Origin(), err)
	}
}
