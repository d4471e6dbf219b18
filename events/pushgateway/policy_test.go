package pushgateway

import (
	"strings"
	"testing"
)

// policy makes a Policy from space-separated lists.
func policy(t testing.TB, allow, deny string, allowHTTP bool) *Policy {
	t.Helper()
	p, err := NewPolicy(strings.Fields(allow), strings.Fields(deny), allowHTTP)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNewPolicyAdmitsEntries(t *testing.T) {
	for _, text := range []string{
		"10.0.0.0/8", "fd00::/8", "0.0.0.0/0", "10.1.2.3", "10.1.2.3:5000", "::1", "[::1]", "[::1]:5000",
		"::ffff:10.1.2.3", "sygnal", "sygnal:5000", "push_gateway", "localhost", "Push.Example.ORG",
		"bücher.example", " sygnal ",
	} {
		if _, err := NewPolicy([]string{text}, []string{text}, true); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestNewPolicyNamesEachBadEntry(t *testing.T) {
	bad := []string{
		"", "10.0.0.1/8", "10.0.0.0/33", "::ffff:10.0.0.0/104", "https://example.org", "fe80::1%eth0",
		"0x7f.1", "127.1", "10.1.2", "010.0.0.1", "sygnal:", "sygnal:0", "sygnal:65536", "sygnal:http", "sygnal:+80",
		"sygnal.", "a b", "*.example.org", "-a.example", "[::1", "[sygnal]:80x", "[::1]x",
	}
	_, err := NewPolicy(bad[:len(bad)/2], bad[len(bad)/2:], false)
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(bad) {
		t.Errorf("%d entries, %d lines:\n%v", len(bad), len(lines), err)
	}
	for i, text := range bad {
		if i < len(lines) && !strings.Contains(lines[i], `"`+text+`"`) {
			t.Errorf("line %q does not name %q", lines[i], text)
		}
	}
}

func TestNewPolicyAppliesPorts(t *testing.T) {
	p := policy(t, "10.0.0.1:5000 [fd00::1]:5000 sygnal:5000", "", false)
	for host, want := range map[string]bool{
		"10.0.0.1:5000": true, "10.0.0.1:5001": false, "10.0.0.2:5000": false,
		"[fd00::1]:5000": true, "[fd00::1]:443": false,
		"sygnal:5000": true, "sygnal": false,
	} {
		if _, err := p.CheckURL("https://" + host + NotifyPath); (err == nil) != want {
			t.Errorf("%s: %v, want allowed %t", host, err, want)
		}
	}
}
