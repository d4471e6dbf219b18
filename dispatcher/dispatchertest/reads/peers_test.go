package reads_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/pushrule"
)

// peerCase is a test of another server, in our words: what is done to a dispatcher, and what
// the gateway then receives.
type peerCase struct {
	source  string
	name    string
	do      func(h *harness)
	want    string
	differs string // why we answer otherwise, on purpose
}

// Sources of the cases.
const (
	sytestPush  = "matrix-org/sytest tests/61push/"
	complement  = "matrix-org/complement tests/csapi/thread_notifications_test.go"
	tuwunelPush = "matrix-construct/tuwunel src/main/tests/pusher_notify.rs "
)

const (
	peer     = events.UserID("@bob:x")
	peerRoom = events.RoomID("!r")
	notify   = `"url":"http://gw.test/_matrix/push/v1/notify"`
)

// asked returns what was asked of the gateway, pusher by pusher, for those have no order among
// them: pushkey, event or "badge", count, and the status of the answer unless it was 200.
func (h *harness) asked() string {
	var words []string
	tried := h.Gateway.Tried()
	slices.SortStableFunc(tried, func(a, b eventstest.Poke) int { return cmp.Compare(a.Pushkey, b.Pushkey) })
	for _, p := range tried {
		what := strings.TrimPrefix(string(p.EventID), "$")
		if what == "" {
			what = "badge"
		}
		word := fmt.Sprintf("%s:%s:%d", p.Pushkey, what, p.Unread)
		if p.Status != http.StatusOK {
			word += fmt.Sprintf("=%d", p.Status)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// begin registers bob with one pusher, and a room of alice and bob.
func (h *harness) begin(data string) {
	h.RegisterAll(peer, events.Pusher{Pushkey: "key", Data: json.RawMessage("{" + notify + data + "}")})
	h.Start()
	h.Room(peerRoom, "@alice:x", peer)
	<-time.After(soon)
}

func (h *harness) read(event events.EventID, thread string) {
	h.Receipt(peerRoom, peer, "m.read", event, thread)
	<-time.After(soon)
}

// once makes the gateway answer the next request of a kind with 502.
func (h *harness) once(fails func(eventstest.Poke) bool) {
	failed := false
	h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
		if !failed && fails(p) {
			failed = true
			return eventstest.Reply{Status: http.StatusBadGateway}
		}
		return eventstest.Reply{}
	})
}

// content returns the value of a content rule that matches everything.
func contentRule(actions ...pushrule.Action) events.UserPushRules {
	pattern := "*"
	return events.UserPushRules{Published: &pushrule.Ruleset{Content: []pushrule.Rule{{ID: "anything", Enabled: true, Pattern: &pattern, Actions: actions}}}}
}

// overrideRule returns the value of an override rule without conditions.
func overrideRule(actions ...pushrule.Action) events.UserPushRules {
	return events.UserPushRules{Published: &pushrule.Ruleset{Override: []pushrule.Rule{{ID: "legacy", Enabled: true, Conditions: []pushrule.Condition{}, Actions: actions}}}}
}

// What a gateway must receive by the tests of Sytest, Complement and tuwunel that are about
// pokes; those about the API are in package registry. Where we differ on purpose the row says
// why.
func TestPeersOfPokes(t *testing.T) {
	for _, cases := range [][]peerCase{peersOfCounts(), peersOfGateways(), peersOfBadges()} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				bubble(t, func(t *testing.T, h *harness) {
					c.do(h)
					if got := h.asked(); got != c.want {
						t.Errorf("%s: asked %q, want %q (%s)", c.source, got, c.want, c.differs)
					}
				})
			})
		}
	}
}

// peersOfCounts are cases about what is unread.
func peersOfCounts() []peerCase {
	relate := func(h *harness, id, kind, target, of string) {
		h.Publish(fmt.Sprintf(`{"event_id":"$%s","room_id":"!r","type":%q,"sender":"@alice:x","origin_server_ts":%d,`+
			`"content":{"msgtype":"m.text","body":"hello","m.relates_to":{"rel_type":%q,"event_id":"$%s"}}}`, id, kind, time.Now().UnixMilli(), of, target))
	}
	return []peerCase{
		{complement, "threaded receipts", func(h *harness) {
			h.begin("")
			h.Publish(fmt.Sprintf(`{"event_id":"$A","room_id":"!r","type":"m.room.message","sender":"@alice:x","origin_server_ts":%d,"content":{"body":"x"}}`, time.Now().UnixMilli()))
			relate(h, "B", "m.room.message", "A", "m.thread")
			relate(h, "C", "m.room.message", "A", "m.thread")
			h.Publish(fmt.Sprintf(`{"event_id":"$D","room_id":"!r","type":"m.room.message","sender":"@alice:x","origin_server_ts":%d,"content":{"body":"x"}}`, time.Now().UnixMilli()))
			relate(h, "E", "m.room.message", "A", "m.thread")
			relate(h, "F", "m.room.message", "A", "m.reference")
			relate(h, "G", "m.room.reaction", "F", "m.annotation")
			h.Arrived(6)
			h.read("$A", `,"thread_id":"main"`)
			h.read("$B", `,"thread_id":"$A"`)
			h.read("$D", "")
			h.read("$G", `,"thread_id":"$A"`)
		}, "key:A:1 key:B:2 key:C:3 key:D:4 key:E:5 key:F:6 key:badge:5 key:badge:4 key:badge:2 key:badge:1",
			"a poke has one count for all threads, and none of highlights"},
		{sytestPush + "03_unread_count.pl", "messages that notify are counted", func(h *harness) {
			h.begin("")
			h.Rules(peer, contentRule(`"notify"`))
			h.Say(peerRoom, "@alice:x", 0, 1)
			h.Arrived(1)
			h.read("$r-0", "")
			h.Say(peerRoom, "@alice:x", 1, 1)
			<-time.After(soon)
		}, "key:r-0:1 key:badge:0 key:r-1:1", ""},
		{sytestPush + "03_unread_count.pl", "mark_unread of MSC2625", func(h *harness) {
			h.begin("")
			h.Rules(peer, contentRule(`"org.matrix.msc2625.mark_unread"`))
			h.Say(peerRoom, "@alice:x", 0, 1)
			<-time.After(soon)
		}, "", "the MSC is closed, and Sytest skips it too; an unknown action does nothing"},
		{tuwunelPush + "account_wide_count_delivery", "the count is of all rooms and threads that the user is in", func(h *harness) {
			h.begin("")
			h.Room("!left", "@alice:x", peer)
			h.Say("!left", "@alice:x", 0, 1)
			h.Arrived(1)
			h.Publish(fmt.Sprintf(`{"event_id":"$out","room_id":"!left","type":"m.room.member","state_key":"@bob:x","sender":"@bob:x","origin_server_ts":%d,"content":{"membership":"leave"}}`, time.Now().UnixMilli()))
			<-time.After(soon)
			h.Say(peerRoom, "@alice:x", 0, 1)
			relate(h, "t", "m.room.message", "r-0", "m.thread")
			<-time.After(soon)
		}, "key:left-0:1 key:badge:0 key:r-0:1 key:t:2", "a count near the limit of integers cannot arise: it is one of notifications"},
	}
}

// peersOfGateways are cases about the answers of a gateway.
func peersOfGateways() []peerCase {
	rejects := func(key string) func(eventstest.Poke) eventstest.Reply {
		return dispatchertest.Always(eventstest.Reply{Body: `{"rejected":["` + key + `"]}`})
	}
	return []peerCase{
		{sytestPush + "08_rejected_pushers.pl", "a rejected pushkey is not poked again, the other is", func(h *harness) {
			h.Register(peer, "gw.test", "key_1", "key_2")
			h.Start()
			h.Room(peerRoom, "@alice:x", peer)
			h.Gateway.Answer(rejects("key_1"))
			h.Say(peerRoom, "@alice:x", 0, 1)
			h.Arrived(2)
			h.Say(peerRoom, "@alice:x", 1, 1)
			<-time.After(soon)
			if n := len(h.Server.Stored("REJECTED", "")); n != 1 {
				h.T.Errorf("%d rejections reach the registry", n)
			}
			h.Gateway.Answer(dispatchertest.Up())
		}, "key_1:r-0:1 key_2:r-0:1 key_2:r-1:2", ""},
		{tuwunelPush + "foreign_rejected_key_noop", "a rejected pushkey that is not ours changes nothing", func(h *harness) {
			h.begin("")
			h.Gateway.Answer(rejects("unrelated"))
			h.Say(peerRoom, "@alice:x", 0, 2)
			<-time.After(soon)
			if n := len(h.Server.Stored("REJECTED", "")); n != 0 {
				h.T.Errorf("%d rejections", n)
			}
		}, "key:r-0:1 key:r-1:2", ""},
		{tuwunelPush + "verify_push_retry", "only the failed poke is repeated", func(h *harness) {
			h.begin("")
			h.once(func(p eventstest.Poke) bool { return p.EventID == "$r-0" })
			h.Say(peerRoom, "@alice:x", 0, 2)
			<-time.After(time.Minute)
		}, "key:r-0:1=502 key:r-0:1 key:r-1:2", "tuwunel sends the second meanwhile; ours waits, since pokes of a pusher keep their order (G3)"},
		{tuwunelPush + "verify_permanent_push_error", "a stored URL that cannot work removes no pusher", func(h *harness) {
			h.RegisterAll(peer, events.Pusher{Pushkey: "bad", Data: json.RawMessage(`{"url":"ftp://127.0.0.1/_matrix/push/v1/notify"}`)}, events.Pusher{Pushkey: "key"})
			h.Start()
			h.Room(peerRoom, "@alice:x", peer)
			h.Say(peerRoom, "@alice:x", 0, 1)
			<-time.After(time.Minute)
			if n := len(h.Server.Stored("REJECTED", "")); n != 0 || h.Backlog() != 1 {
				h.T.Errorf("%d rejections, %d pushers lag", n, h.Backlog())
			}
		}, "key:r-0:1", "tuwunel drops the poke; ours waits for a day, in case the operator allows the URL"},
		{tuwunelPush + "verify_missing_pusher_reap", "what waits for a pusher that is removed goes", func(h *harness) {
			h.SpanHours()
			h.begin("")
			h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"600"}}}))
			h.Say(peerRoom, "@alice:x", 0, 1)
			<-time.After(soon)
			h.Register(peer, "gw.test")
			h.GatewayUp()
			<-time.After(15 * time.Minute)
			if n := h.Backlog(); n != 0 {
				h.T.Errorf("%d pushers lag", n)
			}
		}, "key:r-0:1=429", ""},
		{tuwunelPush + "legacy_actions", "notify beside dont_notify notifies", func(h *harness) {
			h.begin("")
			h.Rules(peer, overrideRule(`"notify"`, `"dont_notify"`))
			h.Say(peerRoom, "@alice:x", 0, 1)
			<-time.After(soon)
		}, "key:r-0:1", ""},
		{tuwunelPush + "legacy_actions", "dont_notify and coalesce do not", func(h *harness) {
			h.begin("")
			h.Rules(peer, overrideRule(`"dont_notify"`, `"coalesce"`))
			h.Say(peerRoom, "@alice:x", 0, 1)
			<-time.After(soon)
		}, "", ""},
	}
}

// peersOfBadges are cases about badge-only pokes.
func peersOfBadges() []peerCase {
	return []peerCase{
		{tuwunelPush + "verify_badge_recovery", "a badge that was due at a stop is sent once", func(h *harness) {
			h.begin("")
			h.Say(peerRoom, "@alice:x", 0, 1)
			h.Arrived(1)
			h.Halt()
			h.Receipt(peerRoom, peer, "m.read", "$r-0", "")
			h.Start()
			<-time.After(time.Minute)
			h.Say(peerRoom, "@alice:x", 1, 1)
			<-time.After(soon)
		}, "key:r-0:1 key:badge:0 key:r-1:1", ""},
		{tuwunelPush + "verify_badge_retry", "a badge is repeated with the same count, and then no more", func(h *harness) {
			h.begin("")
			h.Say(peerRoom, "@alice:x", 0, 1)
			h.Arrived(1)
			h.once(func(p eventstest.Poke) bool { return p.EventID == "" })
			h.read("$r-0", "")
			<-time.After(3 * time.Minute)
		}, "key:r-0:1 key:badge:0=502 key:badge:0", ""},
		{tuwunelPush + "badge_count_opt_out", "neither counts nor badges for a pusher that wants none", func(h *harness) {
			h.begin(`,"disable_badge_count":true`)
			h.Say(peerRoom, "@alice:x", 0, 1)
			h.Arrived(1)
			h.read("$r-0", "")
			if strings.Contains(string(h.Gateway.Pokes()[0].Body), `"counts"`) {
				h.T.Error("the poke has counts")
			}
		}, "key:r-0:0", ""},
		{tuwunelPush + "badge_delivery_memo", "an unchanged count is not sent again", func(h *harness) {
			h.begin("")
			h.Say(peerRoom, "@alice:x", 0, 1)
			h.Arrived(1)
			h.read("$r-0", "")
			h.read("$r-0", "")
			h.Say(peerRoom, "@alice:x", 1, 3)
			<-time.After(soon)
			h.read("$r-2", "")
		}, "key:r-0:1 key:badge:0 key:r-1:1 key:r-2:2 key:r-3:3 key:badge:1", ""},
		{tuwunelPush + "badge_delivery_memo", "a pusher that is set again", func(h *harness) {
			h.begin("")
			h.Say(peerRoom, "@alice:x", 0, 1)
			h.Arrived(1)
			h.Register(peer, "gw.test", "key")
			<-time.After(time.Minute)
			h.read("$r-0", "")
		}, "key:r-0:1 key:badge:0", "tuwunel repeats the count then; the next poke or change carries it, and a client that sets a pusher is awake"},
		{tuwunelPush + "badge_bypasses_suppression", "a badge does not wait for a user who is active elsewhere", func(h *harness) {
			h.Config.DelayIfActive = 10 * time.Second
			h.begin("")
			h.Say(peerRoom, "@alice:x", 0, 1)
			h.Arrived(1)
			h.read("$r-0", "")
		}, "key:r-0:1 key:badge:0", ""},
	}
}

// The parts of a poke, by Sytest's 01message-pushed.pl and tuwunel's full_format_delivery,
// event_id_only_delivery and counts_only_delivery.
func TestPeersOfBodies(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.RegisterAll(peer, events.Pusher{Pushkey: "full"},
			events.Pusher{Pushkey: "brief", Data: json.RawMessage("{" + notify + `,"format":"event_id_only"}`)})
		h.Start()
		h.Room("!direct", "@alice:x", peer)
		h.Say("!direct", "@alice:x", 0, 1)
		h.Arrived(2)
		h.Receipt("!direct", peer, "m.read", "$direct-0", "")
		<-time.After(soon)
		direct := h.Gateway.Pokes()
		h.Room("!other", "@alice:x", "@carol:x", peer)
		h.Room(peerRoom, "@alice:x", "@carol:x", peer)
		h.Say("!other", "@alice:x", 0, 1)
		h.Arrived(len(direct) + 2)
		h.Say(peerRoom, "@alice:x", 0, 1)
		h.Arrived(len(direct) + 4)
		h.read("$r-0", "")
		bodies := map[string]gjson.Result{} // the last of each kind
		for _, p := range h.Gateway.Pokes() {
			kind := p.Pushkey
			if p.EventID == "" {
				kind += " badge"
			}
			bodies[kind] = gjson.GetBytes(p.Body, "notification")
		}
		for _, p := range direct[:2] {
			bodies[p.Pushkey+" direct"] = gjson.GetBytes(p.Body, "notification")
		}
		for _, c := range []struct{ kind, present, absent, why string }{
			{"full", "event_id=$r-0 room_id=!r type=m.room.message sender=@alice:x prio=low counts.unread=2 content.msgtype content.body " +
				"devices.0.app_id=app devices.0.pushkey=full devices.0.pushkey_ts devices.0.data", "id",
				"Sytest still wants id, which the specification has replaced by event_id"},
			{"full direct", "prio=high devices.0.tweaks.sound=default counts.unread=1", "", ""},
			{"brief", "event_id=$r-0 room_id=!r counts.unread=2 devices.0.app_id=app devices.0.pushkey=brief", "type content sender devices.0.tweaks", ""},
			{"full badge", "counts.unread=1 devices.0.pushkey=full prio=low", "event_id room_id sender type content devices.0.tweaks",
				"tuwunel sends no prio, which a gateway takes for high"},
			{"brief badge", "counts.unread=1 devices.0.pushkey=brief", "event_id room_id sender type content devices.0.tweaks", ""},
		} {
			for _, want := range strings.Fields(c.present) {
				path, value, exact := strings.Cut(want, "=")
				if got := bodies[c.kind].Get(path); !got.Exists() || exact && got.String() != value {
					t.Errorf("%s: %s is %s, want %s (%s)", c.kind, path, got, value, c.why)
				}
			}
			for _, path := range strings.Fields(c.absent) {
				if bodies[c.kind].Get(path).Exists() {
					t.Errorf("%s: there is %s (%s)", c.kind, path, c.why)
				}
			}
		}
	})
}
