package dispatcher_test

import (
	"fmt"
	"testing"
	"time"

	"poked/events"
	"poked/events/pushrule"
)

// inThread publishes a message of alice in a thread, or a reply of a certain kind to another event.
func (h *harness) inThread(room events.RoomID, id, kind, to, more string) {
	h.T.Helper()
	h.Publish(fmt.Sprintf(`{"event_id":"$%s","room_id":%q,"type":"m.room.message","sender":"@alice:x","origin_server_ts":%d,"content":{"msgtype":"m.text","body":"x","m.relates_to":{"rel_type":%q,"event_id":"$%s"}%s}}`,
		id, room, time.Now().UnixMilli(), kind, to, more))
	<-time.After(time.Second)
}

func (h *harness) offer(offers pushrule.Offers) {
	h.T.Helper()
	if err := h.Conn.PutOfferedRules(h.T.Context(), offers); err != nil {
		h.T.Fatal(err)
	}
	h.Noticed()
}

// subscribed starts a dispatcher and subscribes bob to a thread.
func (h *harness) subscribed(thread events.EventID) {
	h.T.Helper()
	h.Register("@bob:x", "gw.test", "bob")
	h.Start()
	h.Room("!r", "@alice:x", "@bob:x")
	h.offer(pushrule.MSC4306)
	h.Subscribe("!r", thread, "@bob:x", true)
}

// Who is subscribed to a thread is notified of it, also in a room where only mentions notify; who
// is not only hears of mentions. It counts from its place in the room's order on, after a restart as
// well, and only while the operator offers it: also for rules that a homeserver keeps.
func TestThreadSubscriptionsDecide(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@carol:x", "gw.test", "carol")
		h.Rules("@carol:x", events.UserPushRules{Changes: muted("!r")})
		theirs, err := (&pushrule.Changes{}).Ruleset("@dan:x").MarshalJSON() // of a homeserver that has the rules itself
		if err != nil {
			t.Fatal(err)
		}
		h.Register("@dan:x", "gw.test", "dan")
		h.Rules("@dan:x", events.UserPushRules{Published: published(t, string(theirs))})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x", "@dan:x")
		const thread, mention = "m.thread", `,"m.mentions":{"user_ids":["@bob:x"]}`
		h.Subscribe("!r", "$root", "@carol:x", true)
		h.inThread("!r", "unoffered", thread, "root", "")
		h.offer(pushrule.MSC4306)
		h.sayText("@alice:x", "main", "x")
		h.inThread("!r", "unsubscribed", thread, "root", "")
		h.inThread("!r", "mention", thread, "root", mention)
		h.Subscribe("!r", "$root", "@bob:x", true)
		h.Subscribe("!other", "$elsewhere", "@bob:x", true)
		h.inThread("!r", "subscribed", thread, "root", "")
		h.inThread("!r", "elsewhere", thread, "elsewhere", "")
		h.Halt()
		h.Start()
		h.inThread("!r", "restarted", thread, "root", "")
		h.inThread("!r", "child", "org.example.child", "subscribed", "")
		h.Subscribe("!r", "$root", "@bob:x", false)
		h.inThread("!r", "ended", thread, "root", "")
		h.Halt()
		h.Start()
		h.inThread("!r", "ended-restarted", thread, "root", "")
		h.Subscribe("!r", "$root", "@bob:x", true)
		h.Subscribe("!r", "$root", "@carol:x", false)
		h.inThread("!r", "again", thread, "root", "")
		h.offer(0)
		h.inThread("!r", "withdrawn", thread, "root", "")
		for pushkey, want := range map[string]string{
			"bob":   "unoffered main mention subscribed restarted child again withdrawn",
			"dan":   "unoffered main withdrawn",
			"carol": "unsubscribed mention subscribed restarted child ended ended-restarted",
		} {
			if got := h.Delivered(pushkey); got != want {
				t.Errorf("%s got\n%q, want\n%q", pushkey, got, want)
			}
		}
	})
}

// To know of an answer that it is in a thread, the event that it answers is looked up, even if it would
// notify nobody outside threads.
func TestThreadOfAnAnswerIsLookedUp(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@carol:x", "gw.test", "carol")
		h.Rules("@carol:x", events.UserPushRules{Changes: muted("!r")})
		h.Start()
		h.Room("!r", "@alice:x", "@carol:x")
		h.offer(pushrule.MSC4306)
		h.Subscribe("!r", "$root", "@carol:x", true)
		h.inThread("!r", "first", "m.thread", "root", "")
		h.Halt()
		h.Start()
		h.inThread("!r", "child", "org.example.child", "first", "")
		if got := h.Delivered("carol"); got != "first child" {
			t.Errorf("carol got %q", got)
		}
	})
}

// A subscription is kept for as long as the room, not as the log of events is.
func TestThreadSubscriptionOutlivesTheLog(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.subscribed("$root")
		<-time.After(time.Minute)
		h.Halt()
		h.Server.Purge("ROOMS")
		h.Start()
		h.inThread("!r", "late", "m.thread", "root", "")
		if got := h.Delivered("bob"); got != "late" {
			t.Errorf("bob got %q", got)
		}
	})
}

// What cannot be read is a dead letter, and ends the subscription that it replaces, at once and
// after a restart alike.
func TestUnreadableThreadSubscriptionIsADeadLetter(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.subscribed("$root")
		h.inThread("!r", "subscribed", "m.thread", "root", "")
		h.Server.Publish(events.ThreadSubscription{RoomID: "!r", Thread: "$root", UserID: "@bob:x"}.Subject(), `{"subscribed":1}`)
		h.inThread("!r", "unreadable", "m.thread", "root", "")
		h.Halt()
		h.Start()
		h.inThread("!r", "restarted", "m.thread", "root", "")
		if got := h.Delivered("bob"); got != "subscribed" {
			t.Errorf("bob got %q", got)
		}
		if letters := h.Dead(); len(letters) != 1 || letters[0].Reason != events.DeadBadEvent {
			t.Errorf("dead letters: %+v", letters)
		}
	})
}

// An event that is matched again, by the next owner, is decided by the subscriptions of its own time.
func TestThreadSubscriptionAfterTheEventDoesNotChangeIt(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.subscribed("$kept")
		<-time.After(time.Minute)
		h.Halt()
		h.inThread("!r", "before", "m.thread", "root", "")
		h.inThread("!r", "kept", "m.thread", "kept", "")
		h.Subscribe("!r", "$root", "@bob:x", true)
		h.Subscribe("!r", "$kept", "@bob:x", false)
		h.inThread("!r", "after", "m.thread", "root", "")
		h.inThread("!r", "ended", "m.thread", "kept", "")
		<-time.After(time.Minute) // ROOM_STATE holds what is newer
		h.Start()
		<-time.After(time.Minute)
		if got := h.Delivered("bob"); got != "kept after" {
			t.Errorf("bob got %q", got)
		}
	})
}
