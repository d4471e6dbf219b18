package registry

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"poked/events/eventstest"
)

// An SDK asks which versions of the specification a server supports before anything else,
// without a token.
func TestVersions(t *testing.T) {
	h := newHouse(t)
	status, header, answer := h.request("GET", pathVersions, "", "")
	if status != 200 || header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %s, %v", status, answer, header)
	}
	checkShape(t, openAPI(t), "Versions", answer)
	var v versions
	if err := json.Unmarshal(answer, &v); err != nil || !slices.Contains(v.Versions, "v1.1") || v.Versions[len(v.Versions)-1] != "v1.19" || !v.UnstableFeatures["org.matrix.msc3881"] || !v.UnstableFeatures["org.matrix.msc4173"] {
		t.Errorf("%s, %v", answer, err)
	}
}

// A registry with a homeserver answers what that answers.
func TestVersionsOfTheHomeserver(t *testing.T) {
	h, hs := newHomeserverHouse(t)
	const theirs = `{"versions":["v1.11"]}`
	hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return eventstest.Reply{Status: 200, Body: theirs}, true })
	if status, _, answer := h.request("GET", pathVersions, "", ""); status != 200 || string(answer) != theirs {
		t.Errorf("with a homeserver: %d %s", status, answer)
	}
}
