package events

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// What is stored is read as it was, for one user or several, wherever its parts stand in the text.
func TestLogNotificationIsReadAsItWasWritten(t *testing.T) {
	one := LogNotification{
		RoomID: "!r:x", About: About{EventID: "$e", RoomSeq: 7, At: time.UnixMilli(1000)}, Body: []byte(`{"content":{"body":"{}"}}`),
		Decisions: []Decision{{RuleID: ".m.rule.message", Prio: "high", Tweaks: []byte(`{"sound":"default"}`)}},
		Users:     []LogUser{{UserID: "@a:x"}},
	}
	several := one
	several.Decisions = append(several.Decisions, Decision{RuleID: "cake", Prio: "low", Highlight: true, Tweaks: []byte(`{}`), RoomName: "A & B"})
	several.Users = []LogUser{{UserID: "@a:x"}, {UserID: "@b:x", Decision: 1, PushersRevision: 3}, {UserID: "@c:x", Decision: 1}}
	for name, n := range map[string]LogNotification{"one": one, "several": several} {
		raw := string(n.AppendJSON(nil))
		for _, raw := range []string{raw, strings.Replace(raw, `{"kind"`, "{\n \"unknown\" : [{}], \"kind\"", 1)} {
			m, err := ParseLog([]byte(raw))
			if err != nil || !reflect.DeepEqual(*m.Notify, n) {
				t.Errorf("%s: %v, %+v\nfrom %s", name, err, m.Notify, raw)
			}
		}
	}
}
