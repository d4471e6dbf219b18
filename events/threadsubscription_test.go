package events

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestParseThreadSubscription(t *testing.T) {
	const whole = `{"type":"io.element.msc4306.thread_subscription","room_id":"!r","thread_id":"$t/+","user_id":"@a:x","subscribed":true}`
	for _, tc := range []struct{ old, new, flaw string }{
		{"", "", ""},
		{"true", "false", ""},
		{"true", `"true"`, "subscribed"},
		{`,"subscribed":true`, "", "subscribed"},
		{TypeThreadSubscription, "m.receipt", "type"},
		{`"!r"`, "7", "room_id"},
		{"$t/+", "", "thread_id"},
		{"@a:x", strings.Repeat("x", 256), "user_id"},
		{"}", "", "JSON"},
		{whole, "[]", "object"},
		{"}", `,"x":"` + strings.Repeat("x", MaxEventBytes) + `"}`, "limit"},
	} {
		raw := []byte(strings.Replace(whole, tc.old, tc.new, 1))
		want := ThreadSubscription{"!r", "$t/+", "@a:x", tc.new != "false"}
		subject := want.Subject()
		if tc.flaw != "" {
			want.Subscribed = false
		}
		got, err := ParsePublishedThreadSubscription(subject, raw)
		if (err != nil) != (tc.flaw != "") || got != want {
			t.Errorf("%.150s: %+v, %v", raw, got, err)
		}
		if err != nil && (!errors.Is(err, ErrBadEvent) || !strings.Contains(err.Error(), tc.flaw)) {
			t.Errorf("%.150s: %v", raw, err)
		}
		if err == nil {
			if again, err := want.Encode(); err != nil || !bytes.Equal(again, raw) {
				t.Errorf("%+v became %s, %v", want, again, err)
			}
		}
	}
	if _, err := (ThreadSubscription{RoomID: "!r", UserID: "@a:x"}).Encode(); !errors.Is(err, ErrBadEvent) {
		t.Errorf("without a thread: %v", err)
	}
}

// On the subject of another user or thread it would replace what that has.
func TestThreadSubscriptionOnAnotherSubject(t *testing.T) {
	sub := ThreadSubscription{"!r", "$t", "@a:x", true}
	raw, err := sub.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []ThreadSubscription{{"!q", "$t", "@a:x", false}, {"!r", "$u", "@a:x", false}, {"!r", "$t", "@b:x", false}} {
		if got, err := ParsePublishedThreadSubscription(other.Subject(), raw); !errors.Is(err, ErrBadEvent) || got != other {
			t.Errorf("on %s: %+v, %v", other.Subject(), got, err)
		}
	}
	for _, subject := range []string{"room._.state.thread.!.!", "room.x", sub.Subject() + ".x"} {
		if got, err := ParsePublishedThreadSubscription(subject, raw); !errors.Is(err, ErrBadEvent) || got != (ThreadSubscription{}) {
			t.Errorf("on %s: %+v, %v", subject, got, err)
		}
	}
	state := RoomEvent{RoomID: "!r", Type: "thread", IsState: true, StateKey: "$t"}
	for subject, want := range map[string]bool{sub.Subject(): true, state.Subject(): false, "room.cm0.state.thread.x": false, "room.cm0.receipt": false} {
		rest := strings.SplitN(subject, ".", 3)[2]
		if got := IsThreadSubscription(rest); got != want {
			t.Errorf("%s is a subscription: %t", subject, got)
		}
		if _, isState := StateOn(subject); isState && want {
			t.Errorf("%s counts as state", subject)
		}
	}
}
