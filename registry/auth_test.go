package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"testing"

	"poked/registry/auth"
)

func TestAuthorizationHeader(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		header, query, errcode string
		status                 int
	}{
		{"Bearer alice-phone", "", "", 200},
		{"bearer alice-phone", "", "", 200},
		{"BEARER  alice-phone ", "", "", 200},
		{"", "", "M_MISSING_TOKEN", 401},
		{"", "?access_token=alice-phone", "M_MISSING_TOKEN", 401},
		{"Bearer", "", "M_MISSING_TOKEN", 401},
		{"Bearer ", "", "M_MISSING_TOKEN", 401},
		{"Basic alice-phone", "", "M_MISSING_TOKEN", 401},
		{"alice-phone", "", "M_MISSING_TOKEN", 401},
		{"Bearer alice-phon", "", "M_UNKNOWN_TOKEN", 401},
		{"Bearer alice-phone2", "", "M_UNKNOWN_TOKEN", 401},
		{"Bearer @alice:example.org", "", "M_UNKNOWN_TOKEN", 401},
		{"Bearer #", "", "M_UNKNOWN_TOKEN", 401},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", h.web.URL+prefixV3+"/pushers"+c.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.header != "" {
			req.Header.Set("Authorization", c.header)
		}
		res, err := h.web.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var e errorBody
		err = json.NewDecoder(res.Body).Decode(&e)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != c.status || e.Errcode != c.errcode {
			t.Errorf("%q: %d %+v %v", c.header, res.StatusCode, e, err)
		}
	}
}

func TestAuthenticatorFails(t *testing.T) {
	h := newHouse(t)
	h.reg.api.auth = func(context.Context, string) (auth.Identity, error) {
		return auth.Identity{}, errors.New("homeserver is away")
	}
	status, e := h.try(setV3, "alice-phone", encode(t, body()))
	if status != http.StatusInternalServerError || e.Errcode != "M_UNKNOWN" {
		t.Errorf("%d %+v: a client that cannot be authenticated must not be logged out", status, e)
	}
}

// A request with two different tokens is refused, whether it is answered here or
// forwarded.
func TestTwoTokens(t *testing.T) {
	h, hs := newHomeserverHouse(t)
	for _, path := range []string{prefixV3 + "/pushers", prefixV3 + "/pushrules/", prefixV3 + "/devices/PHONE"} {
		for _, c := range []struct {
			headers []string
			query   string
			status  int
		}{
			{[]string{"Bearer alice-phone", "Bearer bob-phone"}, "", 400},
			{[]string{"Bearer alice-phone", "Bearer alice-phone"}, "", 400},
			{[]string{"Bearer alice-phone, Bearer bob-phone"}, "", 400},
			{[]string{"Basic alice-phone", "Bearer bob-phone"}, "", 400},
			{[]string{"Bearer alice-phone"}, "?access_token=bob-phone", 400},
			{[]string{"Bearer alice-phone"}, "?access_token=alice-phone&access_token=bob-phone", 400},
			{[]string{"Bearer alice-phone"}, "?access_token=alice-phone", 200},
		} {
			req, err := http.NewRequestWithContext(t.Context(), "GET", h.web.URL+path+c.query, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header["Authorization"] = c.headers
			res, err := h.web.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != c.status {
				t.Errorf("%s%s with %q: %d, want %d", path, c.query, c.headers, res.StatusCode, c.status)
			}
		}
	}
	if n := len(hs.Hits("")); n > 5 {
		t.Errorf("the homeserver received %q", hs.Hits(""))
	}
}

// TestG10OnlyTheOwner checks that no request of bob's shows or changes alice's pushers
// or rules, whatever it contains.
func TestG10OnlyTheOwner(t *testing.T) {
	h := newHouse(t)
	h.set("alice-phone", body(keys{"pushkey": "hers"}))
	before := encode(t, h.database()[alice])
	h.set("bob-phone", body(keys{"pushkey": "his", "user_id": alice, "user": alice}))
	h.set("bob-phone", keys{"kind": null, "pushkey": "hers", "app_id": "org.example.app", "user_id": alice})
	h.set("bob-phone", body(keys{"pushkey": "hers", "append": true, "lang": "de"}))
	for _, query := range []string{"", "?user_id=" + alice} {
		_, _, answer := h.request("GET", prefixV3+"/pushers"+query, "bob-phone", "")
		var list struct{ Pushers []clientPusher }
		if err := json.Unmarshal(answer, &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Pushers) != 2 || list.Pushers[0].Pushkey != "his" || list.Pushers[1].Lang != "de" {
			t.Errorf("bob sees %s", answer)
		}
	}
	if after := encode(t, h.database()[alice]); after != before {
		t.Errorf("alice had %s\nand has %s", before, after)
	}
	// Two devices of one user have the same owner.
	if got := h.pushkeys("alice-laptop"); !slices.Equal(got, []string{"hers"}) {
		t.Errorf("alice's laptop sees %q", got)
	}
}
