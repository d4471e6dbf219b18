package dispatcher_test

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
		h.Config.PokeTTL = 30 * time.Second
		h.Register("@bob:x", "gw.test", "SECRET-rejected")
		h.Register("@eve:x", "slow.test", "SECRET-failing")
		h.Register("@dan:x", "forbidden.test", "SECRET-forbidden")
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "gw.test" {
				return eventstest.Reply{Body: `{"rejected":["SECRET-rejected"],"why":"SECRET-answer"}`}
			}
			return eventstest.Reply{Status: http.StatusBadGateway, Body: "SECRET-answer"}
		})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@eve:x", "@dan:x")
		h.Publish(`{"event_id":"$s","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{"body":"SECRET-body"}}`)
		here := "room." + events.Token("!r") + ".event"
		h.Server.Publish(here, `{"SECRET-key`)
		h.Server.Publish(here, `{"event_id":"$t","room_id":"!r","type":17,"sender":"@alice:x","content":{"body":"SECRET-body"}}`)
		h.Server.Publish("log.0", `{"kind":"notify","room_id":"!r","users":[{"user_id":"@bob:x"}],"decisions":[{"tweaks":"SECRET-tweak"}]}`)
		h.Server.Publish("$KV.PUSHERS.0."+events.Token("@ann:x"), `{"user_id":"@ann:x","pushers":[{"pushkey":{"SECRET-pushkey":1}}]}`)
		h.Server.Publish("$KV.PUSHERS.0."+events.Token("@amy:x"), `{"user_id":"@amy:x","pushers":[{"pushkey":"SECRET-pushkey","data":"SECRET-data"}]}`)
		h.Server.Publish("$KV.PUSH_RULES.0."+events.Token("@ann:x"), `{"user_id":"@ann:x","changes":{"content":"SECRET-rules"}}`)
		h.Rules("@dan:x", events.UserPushRules{Changes: eventstest.Keyword("SECRET-body")})
		<-time.After(3 * time.Minute)
		h.Halt()
		log := h.Log.String()
		if strings.Contains(log, "SECRET") {
			t.Errorf("the log contains a secret: %s", log)
		}
		for _, word := range []string{"rejected", "expired", "http_status=502", "refused_url", "unreadable message skipped", "unreadable value in a bucket"} {
			if !strings.Contains(log, word) {
				t.Errorf("the log has no %s, so this test proves nothing about it", word)
			}
		}
		for _, stream := range []string{"NOTIFICATIONS", "REJECTED", "DEAD", "KV_BACKLOG", "KV_INBOX"} {
			for _, msg := range h.Server.Stored(stream, "") {
				if strings.Contains(msg.Subject, "SECRET") {
					t.Errorf("a subject contains a secret: %s", msg.Subject)
				}
			}
		}
	})
}
