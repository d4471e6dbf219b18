package registry

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/pushrule"
)

func (h *house) offered() pushrule.Offers {
	h.t.Helper()
	offers, err := h.conn.OfferedRules(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return offers
}

// What the operator offers is shown to clients, can be changed by them, and reaches the
// dispatchers. Without the flag nothing is left of it, and with it users find their changes again.
func TestOfferedRules(t *testing.T) {
	eventstest.Long(t)
	const path = "global/underride/.org.matrix.msc3930.rule.poll_start"
	h := newHouse(t, func(c *Config) { c.OfferRules = "msc4506,msc4028,msc3930" })
	stop := h.run()
	whole := (&pushrule.Changes{}).Ruleset(alice)
	want := whole.Offering(pushrule.MSC3930 | pushrule.MSC4028 | pushrule.MSC4506)
	if got := h.get("global/"); got != encode(t, want) {
		t.Errorf("alice is shown\n%s, want\n%s", got, encode(t, want))
	}
	eventstest.WaitFor(t, "nats to have it", func() bool { return h.offered() == pushrule.MSC3930|pushrule.MSC4028|pushrule.MSC4506 })
	if _, _, answer := h.request(http.MethodGet, pathVersions, "", ""); !strings.Contains(string(answer), `"org.matrix.msc4028":true`) {
		t.Errorf("versions: %s", answer)
	}
	h.put(path+"/enabled", `{"enabled":false}`)
	h.put("global/override/.org.matrix.msc4028.encrypted_event/actions", `{"actions":[]}`)
	if status, e := h.rule(http.MethodDelete, path, ""); status != http.StatusBadRequest || e.Errcode != "M_INVALID_PARAM" {
		t.Errorf("delete: %d %+v", status, e)
	}
	h.waitSettled()
	stop()
	h.close()

	h.cfg.OfferRules = "msc4028"
	h.open()
	stop = h.run()
	eventstest.WaitFor(t, "nats to have it", func() bool { return h.offered() == pushrule.MSC4028 })
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		target, body := path, ""
		if method == http.MethodPut {
			target, body = path+"/enabled", `{"enabled":true}`
		}
		if status, _, answer := h.request(method, pushRules+target, "alice-phone", body); status != http.StatusNotFound {
			t.Errorf("%s of what is not offered: %d %s", method, status, answer)
		}
	}
	stop()
	h.close()

	h.cfg.OfferRules = ""
	h.open()
	stop = h.run()
	eventstest.WaitFor(t, "nats to have nothing", func() bool { return h.offered() == 0 })
	if got := h.get("global/"); strings.Contains(got, "msc") {
		t.Errorf("alice is shown %s", got)
	}
	stop()
	h.close()

	h.cfg.OfferRules = "msc3930"
	h.open()
	h.run()
	if got := h.get(path + "/enabled"); got != `{"enabled":false}` {
		t.Errorf("alice's change is lost: %s", got)
	}
}

// NATS may be lost with all that it held.
func TestOfferedRulesAreWrittenAgain(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t, func(c *Config) { c.OfferRules = "msc3930" })
	h.run()
	eventstest.WaitFor(t, "nats to have it", func() bool { return h.offered() == pushrule.MSC3930 })
	h.put("global/room/a", firstRule)
	h.waitSettled()
	h.nats.DeleteStream("KV_PUSH_RULES")
	h.put("global/room/b", firstRule)
	eventstest.WaitFor(t, "the outbox to fail", func() bool { return strings.Contains(h.log.String(), "the outbox cannot be published") })
	if err := h.conn.Setup(t.Context(), natstest.Topology()); err != nil {
		t.Fatal(err)
	}
	eventstest.WaitFor(t, "nats to have it again", func() bool { return h.offered() == pushrule.MSC3930 })
}

// A homeserver that keeps push rules decides; what the operator offers is not added to them.
func TestOfferedRulesOfAHomeserver(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.OfferRules = "msc3930,msc4028" })
	h.run()
	h.accounts().rules(`{"global":{"override":[{"rule_id":".org.matrix.msc3930.rule.poll_response","default":true,"enabled":true,"actions":[]}]}}`)
	h.waitFor("the homeserver's rules", func() bool { return h.rulesOfAlice().Published != nil })
	global := h.get("global/")
	if strings.Count(global, "msc") != 1 || !strings.Contains(global, "poll_response") {
		t.Errorf("alice is shown %s", global)
	}
	if status, e := h.rule(http.MethodPut, "global/underride/.org.matrix.msc3930.rule.poll_start/enabled", `{"enabled":false}`); status != http.StatusForbidden {
		t.Errorf("change: %d %+v", status, e)
	}
}

// The rules of thread subscriptions are of a kind of their own, in which users have no others. Clients that do
// not know it never see it unless it is offered.
func TestOfferedRulesOfThreads(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.OfferRules = "msc4306" })
	stop := h.run()
	const path = "global/postcontent/.io.element.msc4306.rule.unsubscribed_thread"
	if got := h.get("global/"); !strings.Contains(got, `"postcontent":[{"rule_id":".io.element.msc4306.rule.unsubscribed_thread"`) {
		t.Errorf("alice is shown %s", got)
	}
	h.put(path+"/enabled", `{"enabled":false}`)
	if got := h.get(path + "/enabled"); got != `{"enabled":false}` {
		t.Errorf("alice's change: %s", got)
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		for target, code := range map[string]string{path: "M_INVALID_PARAM", "global/postcontent/mine": "M_INVALID_PARAM"} {
			if method == http.MethodDelete && target != path {
				code = "M_NOT_FOUND"
			}
			if _, e := h.rule(method, target, `{"conditions":[],"actions":["notify"]}`); e.Errcode != code {
				t.Errorf("%s %s: %+v, want %s", method, target, e, code)
			}
		}
	}
	h.waitSettled()
	if change := h.rulesOfAlice().Changes.Predefined[".io.element.msc4306.rule.unsubscribed_thread"]; change.Enabled == nil || *change.Enabled {
		t.Errorf("the dispatchers get %+v", change)
	}
	stop()
	h.close()

	h.cfg.OfferRules = ""
	h.open()
	h.run()
	if got := h.get("global/"); strings.Contains(got, "postcontent") {
		t.Errorf("alice is shown %s", got)
	}
	if status, e := h.rule(http.MethodPut, path+"/enabled", `{"enabled":true}`); status != http.StatusNotFound {
		t.Errorf("a change of what is not offered: %d %+v", status, e)
	}
}

func TestOfferRulesNamesProposals(t *testing.T) {
	for list, good := range map[string]bool{
		"": true, "msc3930": true, "msc3930,msc4028": true, "msc3930,": false, "msc3930, msc4028": false, "MSC4028": false, "polls": false,
	} {
		cfg := Config{OfferRules: list}.withDefaults()
		err := cfg.Validate()
		if (err == nil) != good || err != nil && !strings.HasPrefix(err.Error(), "--offer-rules: ") {
			t.Errorf("%q: %v", list, err)
		}
		if !good {
			continue
		}
		if offers, err := cfg.offers(); err != nil || !slices.Equal(offers.Names(), slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return s == "" })) {
			t.Errorf("%q offers %v, %v", list, offers.Names(), err)
		}
	}
}
