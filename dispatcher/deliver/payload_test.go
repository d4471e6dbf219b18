package deliver

import "testing"

func TestParsePayloadLimits(t *testing.T) {
	got, err := ParsePayloadLimits([]string{"ntfy.sh=4096", " http://up.lan:8080/x = 1024 ", "[fd00::1]:8443=5000", "NTFY.example.org=9999"})
	want := PayloadLimits{"https://ntfy.sh:443": 4096, "http://up.lan:8080": 1024, "https://[fd00::1]:8443": 5000, "https://ntfy.example.org:443": 9999}
	if err != nil || len(got) != len(want) {
		t.Fatalf("parsed %v, %v", got, err)
	}
	for origin, limit := range want {
		if got[origin] != limit {
			t.Errorf("%s: %d, want %d", origin, got[origin], limit)
		}
	}
	for _, bad := range []string{"", "ntfy.sh", "=4096", "ntfy.sh=", "ntfy.sh=1023", "ntfy.sh=-1", "ntfy.sh=4k", "ftp://ntfy.sh=4096", "a b=4096"} {
		if got, err := ParsePayloadLimits([]string{bad}); err == nil {
			t.Errorf("%q is parsed as %v", bad, got)
		}
	}
}
