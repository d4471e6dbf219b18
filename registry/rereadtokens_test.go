package registry

import "testing"

// A reread that an operator requests does not wait until the file is unchanged.
func TestRereadTokens(t *testing.T) {
	h := newHouse(t)
	writeFile(t, h.cfg.Tokens, "fresh @alice:example.org PHONE\n")
	if err := h.reg.RereadTokens(); err != nil {
		t.Fatal(err)
	}
	if status, _ := h.try(prefixV3+"/pushers/set", "fresh", encode(t, body())); status != 200 {
		t.Errorf("with a token of the file: %d", status)
	}
	if status, _ := h.try(prefixV3+"/pushers/set", "alice-phone", encode(t, body())); status != 401 {
		t.Errorf("with a token that was there before: %d", status)
	}
}
