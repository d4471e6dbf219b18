package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/registry/request"
)

func TestGetShowsWhatWasSet(t *testing.T) {
	h := newHouse(t)
	data := json.RawMessage(`{"url":"https://g.example.org/_matrix/push/v1/notify?a=1&b=<","format":"event_id_only","x":{"n":1.50,"big":12345678901234567890}}`)
	h.set("alice-phone", body(keys{"pushkey": "k \" \\ " + oddest(t) + " ä 🙂", "profile_tag": "tag", "append": true, "data": data}))
	for _, prefix := range []string{prefixV3, prefixR0, prefixOriginal} {
		status, _, answer := h.request("GET", prefix+"/pushers", "alice-phone", "")
		want := `{"pushers":[{"pushkey":"k \" \\ ` + strings.Trim(encode(t, oddest(t)), `"`) + ` ä 🙂","kind":"http","app_id":"org.example.app","app_display_name":"App",
			"device_display_name":"Phone","instance_handle":"tag","profile_tag":"tag","lang":"en","data":` + string(data) + `,
			"enabled":true,"org.matrix.msc3881.enabled":true}]}`
		if status != http.StatusOK || !sameJSON(t, answer, []byte(want)) {
			t.Errorf("%s: %d %s", prefix, status, answer)
		}
		if !strings.Contains(string(answer), "12345678901234567890") {
			t.Errorf("a number was rounded: %s", answer)
		}
	}
	_, _, answer := h.request("GET", prefixV3+"/pushers", "bob-phone", "")
	if string(answer) != `{"pushers":[]}`+"\n" {
		t.Errorf("nothing set: %s", answer)
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

func TestSetAgainChanges(t *testing.T) {
	h := newHouse(t)
	h.set("alice-phone", body(keys{"instance_handle": "old", "lang": "en"}))
	before := h.database()[alice]
	h.set("alice-laptop", body(keys{"instance_handle": "new", "lang": "de"}))
	after := h.database()[alice]
	if len(after.Pushers) != 1 || after.Version <= before.Version {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	p := after.Pushers[0]
	if p.InstanceHandle != "new" || p.Lang != "de" || p.DeviceID != "LAPTOP" {
		t.Errorf("not all changed: %+v", p)
	}
	if p.PushkeyTS <= before.Pushers[0].PushkeyTS {
		t.Errorf("pushkey_ts %d after %d", p.PushkeyTS, before.Pushers[0].PushkeyTS)
	}
}

// TestEnabled sets pushers enabled and disabled, under both names of the key.
func TestEnabled(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	const unstable = "org.matrix.msc3881.enabled"
	for _, c := range []struct {
		set     keys
		enabled bool
	}{
		{keys{}, true},
		{keys{"enabled": false}, false},
		{keys{"enabled": true}, true},
		{keys{unstable: false}, false},
		{keys{}, true}, // a set without the key enables the pusher
		{keys{"enabled": true, unstable: false}, true},
		{keys{"enabled": false, unstable: true}, false},
	} {
		h.set("alice-phone", body(c.set))
		_, _, answer := h.request("GET", prefixV3+"/pushers", "alice-phone", "")
		var list struct{ Pushers []map[string]any }
		if err := json.Unmarshal(answer, &list); err != nil {
			t.Fatal(err)
		}
		if p := list.Pushers[0]; p["enabled"] != c.enabled || p[unstable] != c.enabled {
			t.Errorf("%v: %s", c.set, answer)
		}
		if stored := h.database()[alice].Pushers[0]; stored.Disabled == c.enabled {
			t.Errorf("%v: dispatchers receive %+v", c.set, stored)
		}
	}
}

func TestDelete(t *testing.T) {
	h := newHouse(t)
	h.set("alice-phone", body(keys{"pushkey": "a"}))
	h.set("alice-phone", body(keys{"pushkey": "b"}))
	h.set("alice-phone", body(keys{"pushkey": "a", "app_id": "other"}))
	for range 2 { // the second one finds no pusher, and succeeds
		h.set("alice-laptop", keys{"kind": null, "pushkey": "a", "app_id": "org.example.app"})
	}
	if got := h.pushkeys("alice-phone"); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("left %q", got)
	}
	if n := h.count("removed_pushers WHERE reason = 'deleted'"); n != 1 {
		t.Errorf("%d removals kept, want 1", n)
	}
}

func TestAppend(t *testing.T) {
	for _, c := range []struct {
		name   string
		body   keys
		others []string // alice's remaining pushkeys
	}{
		{"append true", body(keys{"append": true}), []string{"key", "key", "more"}},
		{"append false", body(keys{"append": false}), []string{"key", "more"}},
		{"append not given", body(), []string{"key", "more"}},
		{"deletion", body(keys{"kind": null, "append": false}), []string{"key", "key", "more"}},
		{"another app", body(keys{"app_id": "third"}), []string{"key", "key", "more"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.set("alice-phone", body())
			h.set("alice-phone", body(keys{"app_id": "other"}))
			h.set("alice-phone", body(keys{"pushkey": "more"}))
			before := h.database()[alice].Version
			h.set("bob-phone", c.body)
			got := h.pushkeys("alice-phone")
			if !slices.Equal(got, c.others) {
				t.Errorf("alice has %q, want %q", got, c.others)
			}
			if changed := h.database()[alice].Version != before; changed != (len(got) != 3) {
				t.Errorf("alice's version grew: %t", changed)
			}
		})
	}
}

// TestSetTouchesOthersInOneTransaction makes a set fail after it would have removed
// other users' pushers.
func TestSetTouchesOthersInOneTransaction(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.set("alice-phone", body())
	before := h.database()
	h.forbid("INSERT", "removed_pushers")
	if status, _ := h.try(setV3, "bob-phone", encode(t, body())); status != http.StatusInternalServerError {
		t.Fatalf("status %d", status)
	}
	if after := h.database(); encode(t, after) != encode(t, before) {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestPusherLimit(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t, func(c *Config) { c.MaxPushers = 3 })
	for i := range 3 {
		h.set("alice-phone", body(keys{"pushkey": fmt.Sprint(i)}))
	}
	status, e := h.try(setV3, "alice-phone", encode(t, body(keys{"pushkey": "3"})))
	if status != http.StatusBadRequest || e.Errcode != "M_INVALID_PARAM" || !strings.Contains(e.Error, "3 pushers") {
		t.Errorf("%d %+v", status, e)
	}
	h.set("alice-phone", body(keys{"pushkey": "2", "lang": "de"})) // changing one does not count as another
	h.set("alice-phone", body(keys{"pushkey": "0", "kind": null}))
	h.set("alice-phone", body(keys{"pushkey": "3"}))
	if got := h.pushkeys("alice-phone"); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("alice has %q", got)
	}
	h.set("bob-phone", body()) // each user has a limit
}

func TestRemovalsAreForgotten(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	const keptRemovals = 20
	for i := range keptRemovals + 5 {
		h.set("alice-phone", body(keys{"pushkey": fmt.Sprint(i)}))
		h.set("alice-phone", body(keys{"pushkey": fmt.Sprint(i), "kind": null}))
	}
	if n := h.count("removed_pushers"); n != keptRemovals {
		t.Errorf("%d removals kept, want %d", n, keptRemovals)
	}
}

// TestLargestPushersFitNATS sets as many and as large pushers as a user may have, in
// the encoding that grows most.
func TestLargestPushersFitNATS(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t, func(c *Config) { c.MaxPushers = maxMaxPushers })
	h.run()
	name := strings.Repeat("<", request.MaxNameChars)
	for i := range maxMaxPushers {
		data := keys{"url": "https://g.example.org/_matrix/push/v1/notify", "x": ""}
		data["x"] = strings.Repeat("x", request.MaxDataBytes-len(encode(t, data)))
		h.set("alice-phone", body(keys{
			"pushkey": strings.Repeat("<", request.MaxPushkeyBytes-3) + fmt.Sprintf("%03d", i),
			"app_id":  strings.Repeat("a", request.MaxAppIDChars), "instance_handle": strings.Repeat("<", request.MaxHandleChars),
			"app_display_name": name, "device_display_name": name, "lang": name, "data": data,
		}))
	}
	h.waitSettled()
}

// A pusher follows the one before it of the same device and app, and no other.
func TestPusherFollowsTheOneOfItsDevice(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	for _, p := range [][3]string{ // token, app, pushkey
		{"alice-phone", "org.a", "1"}, {"alice-laptop", "org.a", "2"}, {"alice-phone", "org.b", "3"},
		{"alice-phone", "org.a", "4"}, {"alice-nodevice", "org.a", "5"}, {"alice-nodevice", "org.a", "6"},
		{"alice-phone", "org.a", "7"}, {"bob-phone", "org.a", "8"},
	} {
		h.set(p[0], body(keys{"app_id": p[1], "pushkey": p[2], "append": true}))
	}
	follows := func() (list string) {
		for _, p := range slices.Concat(h.database()[alice].Pushers, h.database()[bob].Pushers) {
			for _, key := range strings.Fields("1 2 3 4 5 6 7 8") {
				if p.Follows == events.NewPusherID(alice, p.AppID, key) {
					list += p.Pushkey + ">" + key + " "
				}
			}
		}
		return list
	}
	if got := follows(); got != "4>1 7>4 " {
		t.Errorf("%s", got)
	}
	h.set("alice-phone", body(keys{"app_id": "org.a", "pushkey": "4", "kind": null}))
	if got := follows(); got != "7>1 " {
		t.Errorf("after one was deleted: %s", got)
	}
	h.set("alice-laptop", body(keys{"app_id": "org.a", "pushkey": "1", "append": true})) // it moved to the other device
	if got := follows(); got != "2>1 " {
		t.Errorf("after one moved: %s", got)
	}
}
