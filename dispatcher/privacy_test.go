package dispatcher

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// Whatever happens, no log line and no subject contains a pushkey, a body or an answer.
func TestG9NothingSecretIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.cfg.PokeTTL = 30 * time.Second
		h.register("@bob:x", "gw.test", "SECRET-rejected")
		h.register("@eve:x", "slow.test", "SECRET-failing")
		h.register("@dan:x", "forbidden.test", "SECRET-forbidden")
		h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "gw.test" {
				return eventstest.Reply{Body: `{"rejected":["SECRET-rejected"],"why":"SECRET-answer"}`}
			}
			return eventstest.Reply{Status: http.StatusBadGateway, Body: "SECRET-answer"}
		})
		h.start()
		h.room("!r", "@alice:x", "@bob:x", "@eve:x", "@dan:x")
		h.publish(`{"event_id":"$s","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{"body":"SECRET-body"}}`)
		here := "room." + events.Token("!r") + ".event"
		h.server.Publish(here, `{"SECRET-key`)
		h.server.Publish(here, `{"event_id":"$t","room_id":"!r","type":17,"sender":"@alice:x","content":{"body":"SECRET-body"}}`)
		h.server.Publish("notify.0."+events.Token("@bob:x")+"."+events.Token("!r")+"._", `{"tweaks":"SECRET-tweak"}`)
		h.server.Publish("$KV.PUSHERS.0."+events.Token("@ann:x"), `{"user_id":"@ann:x","pushers":[{"pushkey":{"SECRET-pushkey":1}}]}`)
		h.server.Publish("$KV.PUSHERS.0."+events.Token("@amy:x"), `{"user_id":"@amy:x","pushers":[{"pushkey":"SECRET-pushkey","data":"SECRET-data"}]}`)
		h.server.Publish("$KV.PUSH_RULES.0."+events.Token("@ann:x"), `{"user_id":"@ann:x","changes":{"content":"SECRET-rules"}}`)
		h.rules("@dan:x", events.UserPushRules{Changes: eventstest.Keyword("SECRET-body")})
		<-time.After(3 * time.Minute)
		h.halt()
		log := h.log.String()
		if strings.Contains(log, "SECRET") {
			t.Errorf("the log contains a secret: %s", log)
		}
		for _, word := range []string{"rejected", "expired", "http_status=502", "refused_url", "unreadable message skipped", "unreadable value in a bucket"} {
			if !strings.Contains(log, word) {
				t.Errorf("the log has no %s, so this test proves nothing about it", word)
			}
		}
		for _, stream := range []string{"NOTIFICATIONS", "REJECTED", "DEAD", "KV_BACKLOG"} {
			for _, msg := range h.server.Stored(stream, "") {
				if strings.Contains(msg.Subject, "SECRET") {
					t.Errorf("a subject contains a secret: %s", msg.Subject)
				}
			}
		}
	})
}
