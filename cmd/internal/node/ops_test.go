package node

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestReadyzOfADeletedStream checks that /readyz shows a deleted stream while it is missing.
func TestReadyzOfADeletedStream(t *testing.T) {
	o := &Ops{}
	trouble := ""
	if err := o.watch(Actor{unready: func() string { return trouble }}); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"", "stream ROOMS was deleted", ""} {
		trouble = word
		answer := httptest.NewRecorder()
		o.readyz(answer, nil)
		if (answer.Code == http.StatusOK) != (word == "") || !strings.Contains(answer.Body.String(), word) {
			t.Errorf("%d %s, want %q", answer.Code, answer.Body, word)
		}
	}
}

func TestProfilesOnLoopbackOnly(t *testing.T) {
	o, err := OpenOps(t.Context(), OpsFlags{Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+o.listener.Addr().String()+"/debug/pprof/heap", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("on loopback: %d", res.StatusCode)
	}
	answer := httptest.NewRecorder()
	o.page = nil // as on an address that is not loopback
	o.handler(isLoopback(&net.TCPAddr{IP: net.IPv4zero})).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/debug/pprof/heap", nil))
	if answer.Code != http.StatusNotFound {
		t.Errorf("everywhere: %d", answer.Code)
	}
}
