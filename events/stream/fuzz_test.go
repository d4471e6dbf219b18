package stream

import (
	"encoding/json"
	"errors"
	"testing"

	"poked/events"
)

func FuzzAccountMessages(f *testing.F) {
	f.Add("account.QGE6eA.logout", []byte(`{"user_id":"@a:x","device_id":"D"}`))
	f.Add("account.QGE6eA.push_rules", []byte(`{"user_id":"@a:x","content":{"global":{}}}`))
	f.Add("account.*.renamed", []byte(`{"user_id":"@a:x","user_id":"@b:x","device_id":7}`))
	f.Add("rejected.QGE6eA", []byte(`{"user_id":"@a:x","app_id":"a","pushkey":"k"}`))
	f.Fuzz(func(t *testing.T, subject string, raw []byte) {
		change, err := parseAccountChange(subject, raw)
		if err != nil && !errors.Is(err, events.ErrBadEvent) || err == nil && events.AccountSubject(change.UserID, change.Kind) != subject {
			t.Errorf("%s: %+v, %v", subject, change, err)
		}
		if err == nil && change.Content != nil && !json.Valid(change.Content) {
			t.Errorf("content %q", change.Content)
		}
		r, err := parseRejection(subject, raw)
		if err != nil && !errors.Is(err, events.ErrBadEvent) || err == nil && rejectedSubject(r.UserID) != subject {
			t.Errorf("%s: %+v, %v", subject, r, err)
		}
	})
}

// A record of BACKLOG is parsed, or it is lost and has no user.
func FuzzBacklog(f *testing.F) {
	for _, value := range []string{
		`{"user_id":"@bob:x","position":7,"attempts":2,"since":"2026-01-01T00:00:00Z","next_try":"2026-01-01T00:00:01Z","last_error":"http_5xx"}`,
		`{"user_id":"@bob:x","position":-7}`, `{"user_id":""}`, `{"user_id":7}`, `{`, `null`,
	} {
		f.Add([]byte(value))
	}
	c := &Conn{topology: Topology{Partitions: 1}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := c.parseBacklog(raw, 0)
		if (err != nil) != b.Lost || err != nil && b.UserID != "" || err == nil && !b.UserID.Valid() && b.UserID == "" {
			t.Errorf("%s is %+v: %v", raw, b, err)
		}
	})
}

// A pause in GATEWAYS is parsed and has its own key, or is an error.
func FuzzPause(f *testing.F) {
	for _, value := range []string{
		`{"origin":"https://push.example.org","until":"2026-01-01T00:00:00Z"}`, `{"origin":"","until":""}`, `{"until":7}`, `{`, `null`,
	} {
		f.Add([]byte(value), "paused."+events.Token("https://push.example.org"))
	}
	f.Fuzz(func(t *testing.T, raw []byte, key string) {
		p, err := parseGateway(entry{key: key, value: raw}, pauseKey)
		if err == nil && pauseKey(p) != key {
			t.Errorf("%s at %s is %+v", raw, key, p)
		}
	})
}
