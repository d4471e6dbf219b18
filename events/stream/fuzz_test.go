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
