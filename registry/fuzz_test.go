package registry

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"poked/events/pushgateway"
	"poked/events/pushrule"
	"poked/registry/problem"
	"poked/registry/request"
	"poked/registry/store"
)

// refusedAsMatrix checks that an error has an errcode for clients.
func refusedAsMatrix(t *testing.T, err error) {
	t.Helper()
	var refusal *problem.Error
	if !errors.As(err, &refusal) || refusal.Kind == problem.Internal {
		t.Errorf("%v has no errcode for clients", err)
	}
}

// FuzzSet checks that every body of pushers/set is refused or within all limits.
func FuzzSet(f *testing.F) {
	recorded, err := os.ReadFile("../testdata/pushers.json")
	if err != nil {
		f.Fatal(err)
	}
	var all []json.RawMessage
	if json.Unmarshal(recorded, &all) == nil {
		for i, one := range all {
			if i < 20 {
				f.Add([]byte(one), i%2 == 0)
			}
		}
	}
	f.Add([]byte(`{"pushkey":"k","kind":"http","app_id":"a.b","app_display_name":"A","device_display_name":"D","lang":"en","data":{"url":"https://g.example.org/_matrix/push/v1/notify"}}`), false)
	f.Add([]byte(`{"pushkey":"k","kind":null,"app_id":"a.b"}`), false)
	policy, err := pushgateway.NewPolicy(nil, nil, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, original bool) {
		req, err := request.ParseSet(body, original, true, policy)
		if err != nil {
			refusedAsMatrix(t, err)
			return
		}
		p := req.Pusher
		if p.AppID == "" || p.Pushkey == "" || len(p.Pushkey) > request.MaxPushkeyBytes || utf8.RuneCountInString(p.AppID) > request.MaxAppIDChars || len(p.Data) > request.MaxDataBytes {
			t.Errorf("%q became %+v", body, p)
		}
		if encoded, err := json.Marshal(p); err != nil || len(encoded) > 13<<10 {
			t.Errorf("%q has %d bytes, %v", body, len(encoded), err)
		}
	})
}

// FuzzRule checks that every body and place of a rule is refused or valid.
func FuzzRule(f *testing.F) {
	f.Add([]byte(`{"pattern":"coffee","actions":["notify",{"set_tweak":"highlight"}]}`), "content", "coffee", "before=.m.rule.master")
	f.Add([]byte(`{"conditions":[{"kind":"event_match","key":"type","pattern":"m.*"}],"actions":[]}`), "override", "x", "after=y")
	f.Add([]byte(`{"actions":["notify"]}`), "room", "!r:x", "before=a&before=b&%zz")
	f.Fuzz(func(t *testing.T, body []byte, kind, id, query string) {
		name := store.RuleName{Kind: pushrule.Kind(kind), ID: id}
		rule, err := request.ParseRule(body, name)
		if err != nil {
			refusedAsMatrix(t, err)
		} else if encoded, err := json.Marshal(rule); err != nil || !json.Valid(encoded) {
			t.Errorf("%q became %q, %v", body, encoded, err)
		}
		values, _ := url.ParseQuery(query)
		if _, err := request.ParsePlace(values, name); err != nil {
			refusedAsMatrix(t, err)
		}
	})
}

// FuzzRoute checks that every path leads to at most one endpoint, and that the same
// path, escaped, leads to the same endpoint with the same parameters.
func FuzzRoute(f *testing.F) {
	f.Add(prefixV3 + "/pushers/set")
	f.Add(prefixR0 + "/pushrules/global/content/coffee%2F1/enabled")
	f.Add(prefixOriginal + "/pushrules/device/a%20b/copy")
	f.Add(prefixV3 + "/devices/%2e%2e/logout")
	f.Add("//_matrix/%zz")
	a := &api{upstream: &upstream{}}
	a.table = a.endpoints()
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		c := &call{request: &http.Request{URL: u}}
		route := a.find(c)
		if (route == nil) != (c.path == "") {
			t.Fatalf("%q leads to %q", path, c.path)
		}
		for name, value := range c.params {
			if value == "" || !strings.Contains(c.path, "{"+name+"}") {
				t.Errorf("%q: %s is %q in %s", path, name, value, c.path)
			}
		}
		matches := 0
		segments := strings.Split(u.EscapedPath(), "/")
		for i := range a.table {
			if _, ok := a.table[i].match(segments); ok && !strings.HasSuffix(a.table[i].template, "...}") {
				matches++
			}
		}
		if matches > 1 {
			t.Errorf("%q leads to %d places", path, matches)
		}
	})
}
