package registry

import (
	"context"
	"net/http"
	"testing"

	"poked/registry/auth"
)

// TestRunServes checks that Run serves the listener that Open bound, answers a request
// in progress at the stop, and none after it.
func TestRunServes(t *testing.T) {
	h := newHouse(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	h.reg.api.auth = func(context.Context, string) (auth.Identity, error) {
		close(asked)
		<-answer
		return auth.Identity{UserID: alice}, nil
	}
	stop := h.run()
	status := make(chan int, 1)
	go func() { status <- get(t, "http://"+h.reg.Addr()+prefixV3+"/pushers") }()
	<-asked
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	close(answer)
	if got := <-status; got != http.StatusOK {
		t.Errorf("the request in progress at the stop: %d", got)
	}
	<-stopped
	if got := get(t, "http://"+h.reg.Addr()+prefixV3+"/pushers"); got != 0 {
		t.Errorf("a request after the stop: %d", got)
	}
}

// get returns the status of an answer, or 0 if there is none.
func get(t *testing.T, url string) int {
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	req.Header.Set("Authorization", "Bearer any")
	res, err := new(http.Transport).RoundTrip(req)
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}
