package schema_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"poked/dispatcher/trace"
	"poked/events"
	"poked/events/partition"
	"poked/events/pushrule"
	"poked/events/stream"
	"poked/schema"
)

// load reads one schema document.
func load(t *testing.T, name string) map[string]any {
	t.Helper()
	raw, err := fs.ReadFile(schema.Files(), name+".json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return doc.(map[string]any)
}

func compile(t *testing.T, doc map[string]any) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	id := doc["$id"].(string)
	if err := c.AddResource(id, doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// strict makes every object with described keys refuse all others, so that validation
// finds a key that poked writes and the schema does not describe.
func strict(node any) {
	switch node := node.(type) {
	case map[string]any:
		if _, ok := node["properties"]; ok {
			node["additionalProperties"] = false
		}
		for key, child := range node {
			if key != "data" && key != "content" { // may contain anything
				strict(child)
			}
		}
	case []any:
		for _, child := range node {
			strict(child)
		}
	}
}

func validate(t *testing.T, compiled *jsonschema.Schema, raw []byte) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	return compiled.Validate(value)
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestWrittenValues validates what package events writes, with all optional fields and
// without any, against the schemas.
func TestWrittenValues(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 30, 0, 123456789, time.UTC)
	bare := events.Pusher{AppID: "a", Pushkey: "k", Kind: "http", Data: json.RawMessage(`{"url":"https://g.example/"}`)}
	full := events.Pusher{
		AppID: "org.example.app", Pushkey: "k", Kind: "http", InstanceHandle: "h", AppDisplayName: "App",
		DeviceDisplayName: "Phone", Lang: "de", DeviceID: "D", PushkeyTS: at.Unix(), Disabled: true,
		Data: json.RawMessage(`{"url":"https://g.example/_matrix/push/v1/notify","format":"event_id_only","x":{"y":[1]}}`),
	}
	note := events.Notification{
		About: events.About{EventID: "$e", RoomSeq: 7, At: at}, RuleID: ".m.rule.message", Highlight: true,
		Tweaks: []byte(`{"highlight":true}`), Body: []byte(`{"event_id":"$e"}`),
	}
	threaded := note
	threaded.SentAt, threaded.Thread, threaded.Only = at.UnixMilli(), "$root", "pusher"
	threaded.RingsUntil, threaded.RoomAvatar = at.UnixMilli(), "mxc://example.org/avatar"
	threaded.Trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	plain := note
	plain.Highlight, plain.Tweaks = false, []byte(`{}`)
	single := note
	single.Silent = true
	single.Devices = map[string]events.DeviceOutcome{
		"loud":  {Notify: true, Highlight: true, Tweaks: []byte(`{"highlight":true}`), Prio: "high"},
		"quiet": {Tweaks: []byte(`{}`), Prio: "low"},
	}
	subscription, err := events.ThreadSubscription{RoomID: "!r", Thread: "$root", UserID: "@a:x", Subscribed: true}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		value []byte
	}{
		{"pushers", encode(t, events.UserPushers{UserID: "@a:x", Version: 1, Pushers: []events.Pusher{bare, full}})},
		{"push_rules", encode(t, events.UserPushRules{UserID: "@a:x", Version: 1, Published: &pushrule.Ruleset{}})},
		{"push_rules", encode(t, fullRules())},
		{"notification", note.AppendJSON(nil)},
		{"notification", plain.AppendJSON(nil)},
		{"notification", single.AppendJSON(nil)},
		{"notification", threaded.AppendJSON(nil)},
		{"log_notification", logOf(note).AppendJSON(nil)},
		{"log_notification", logOf(single).AppendJSON(nil)},
		{"log_notification", logOf(threaded).AppendJSON(nil)},
		{"log_notification", manyOf(note).AppendJSON(nil)},
		{"read", events.Read{UserID: "@a:x", RoomID: "!r", UpTo: 7, Whole: true, Cleared: true}.AppendJSON(nil)},
		{"read", events.Read{UserID: "@a:x", RoomID: "!r", UpTo: 7, Thread: "$root"}.AppendJSON(nil)},
		{"read", events.Read{UserID: "@a:x", RoomID: "!r", Event: "$e"}.AppendJSON(nil)},
		{"read", events.Read{UserID: "@a:x", RoomID: "!r", UpTo: 7, Whole: true, By: 9}.AppendJSON(nil)},
		{"marked", events.Marked{UserID: "@a:x", RoomID: "!r", Unread: true, By: 9}.AppendJSON(nil)},
		{"marked", events.Marked{UserID: "@a:x", RoomID: "!r", By: 9}.AppendJSON(nil)},
		{"thread_subscription", subscription},
		{"redaction", events.Redaction{RoomID: "!r", RoomSeq: 7, Seq: 9, Users: []events.UserID{"@a:x"}}.AppendJSON(nil)},
		{"inbox", (&events.InboxRoom{}).AppendJSON(nil)},
		{"inbox", (&events.InboxRoom{
			Applied: 9, Incarnation: 1, Older: 3, OlderSeq: 2, OlderRoomSeq: 5, Marked: 8, MarkedBy: 6, Threads: []events.EventID{"$root"},
			Entries: []events.InboxEntry{{Seq: 3, RoomSeq: 7, Thread: 1, Flags: 5, Hash: 1 << 31}, {Seq: 4, RoomSeq: 6}},
		}).AppendJSON(nil)},
		{"inbox_position", encode(t, events.InboxPosition{})},
		{"inbox_position", encode(t, cutPosition(at))},
		{"barrier", encode(t, events.Barrier{Pushers: 7, PushRules: 0})},
		{"backlog", encode(t, events.Backlog{UserID: "@a:x"})},
		{"backlog", encode(t, events.Backlog{UserID: "@a:x", Position: 9, Attempts: 3, Since: at, NextTry: at, LastError: "timeout"})},
		{"backlog", encode(t, events.Backlog{UserID: "@a:x", Alone: 2, PausedUntil: at, PassedOver: 7, Badge: true, Rang: []uint64{9}})},
		{"position", encode(t, partition.Position{})},
		{"position", encode(t, partition.Position{Next: 9, Log: stream.LogMark{0, 1<<48 + 70}, Owner: "w"})},
		{"position", encode(t, partition.Position{Next: 9, Open: []uint64{3, 8}, Wrote: []uint64{8}, Parts: map[uint64][]byte{8: {5}}, Log: stream.LogMark{70}, Owner: "w"})},
		{"pause", encode(t, events.Pause{Origin: "https://g.example:443", Until: at})},
		{"absence", encode(t, events.Absence{Origin: "https://g.example:443", Gone: 86400, At: at})},
		{"vapid", encode(t, events.VAPID{PrivateKey: strings.Repeat("A", 43), Subject: "mailto:a@matrix.org"})},
		{"offered_rules", encode(t, events.NewOfferedRules(pushrule.MSC3930|pushrule.MSC4028))},
		{"rejection", encode(t, events.Rejection{UserID: "@a:x"})},
		{"rejection", encode(t, events.Rejection{
			UserID: "@a:x", AppID: "a", Pushkey: "k", PushkeyTS: 1, RejectedAt: 2, Gateway: "https://g.example:443",
		})},
		{"dead_letter", encode(t, events.DeadLetter{Reason: "expired", At: at})},
		{"dead_letter", encode(t, events.DeadLetter{
			Reason: "bad_message", Detail: "d", At: at, UserID: "@a:x", RoomID: "!r", EventID: "$e", AppID: "a", Pushkey: "k",
			Attempts: 1, LastError: "timeout", Subject: "rejected.x", Message: []byte{0, 255},
		})},
		{"outcome", (&events.Attempt{At: at, UserID: "@a:x", Pusher: "p", Outcome: "retry", Class: "timeout", Attempt: 1}).AppendJSON(nil)},
		{"outcome", (&events.Attempt{
			At: at, UserID: "@a:x", Pusher: "p", AppID: "a", RoomID: "!r", RoomSeq: 7, EventID: "$e", Outcome: "delivered", Class: "ok",
			Status: 200, Attempt: 2, Took: time.Second,
		}).AppendJSON(nil)},
		{"trace", encode(t, trace.Trace{Users: []trace.User{}})},
		{"trace", encode(t, fullTrace(at))},
		{"account_logout", encode(t, map[string]any{"user_id": "@a:x", "device_id": ""})},
		{"account_deactivated", encode(t, map[string]any{"user_id": "@a:x"})},
		{"account_refetch", encode(t, map[string]any{"user_id": "@a:x"})},
		{"account_push_rules", encode(t, map[string]any{"user_id": "@a:x", "content": json.RawMessage(`{"global":{}}`)})},
		{"account_push_rules", encode(t, map[string]any{"user_id": "@a:x", "content": nil})},
		{"account_do_not_disturb", encode(t, map[string]any{"user_id": "@a:x", "content": json.RawMessage(`{"rooms":{"*":{}},"poked.highlights":true}`)})},
		{"account_ignored_users", encode(t, map[string]any{"user_id": "@a:x", "content": json.RawMessage(`{"ignored_users":{"@b:x":{}}}`)})},
	} {
		doc := load(t, c.name)
		strict(doc)
		if err := validate(t, compile(t, doc), c.value); err != nil {
			t.Errorf("%s: %s: %v", c.name, c.value, err)
		}
	}
}

// Each schema describes exactly the fields of the Go type that poked writes.
func TestSchemasDescribeEveryField(t *testing.T) {
	for name, value := range map[string]any{
		"pushers": events.UserPushers{}, "push_rules": events.UserPushRules{}, "backlog": events.Backlog{},
		"dead_letter": events.DeadLetter{}, "pause": events.Pause{}, "absence": events.Absence{}, "rejection": events.Rejection{},
		"read": logged[events.Read]{}, "marked": logged[events.Marked]{}, "redaction": logged[events.Redaction]{}, "position": partition.Position{},
		"inbox_position": events.InboxPosition{}, "barrier": events.Barrier{}, "trace": trace.Trace{},
		"vapid": events.VAPID{}, "offered_rules": events.OfferedRules{},
	} {
		var fields []string
		typ := reflect.TypeOf(value)
		if typ.NumField() == 2 && typ.Field(0).Name == "Kind" {
			fields, typ = []string{"kind"}, typ.Field(1).Type
		}
		for _, field := range reflect.VisibleFields(typ) {
			if key, _, _ := strings.Cut(field.Tag.Get("json"), ","); key != "" && key != "-" {
				fields = append(fields, key)
			}
		}
		described := slices.Sorted(maps.Keys(load(t, name)["properties"].(map[string]any)))
		if slices.Sort(fields); !slices.Equal(fields, described) {
			t.Errorf("%s describes %v, poked writes %v", name, described, fields)
		}
	}
}

// logged is a message of NOTIFICATIONS of which one field is its kind.
type logged[T any] struct {
	Kind  string
	Value T
}

// logOf returns the message that notifies a user of the same.
func logOf(n events.Notification) *events.LogNotification {
	m := n.Log("@a:x", "!r")
	m.Decisions[0].Prio = "high"
	return &m
}

// manyOf returns a message with every field.
func manyOf(n events.Notification) *events.LogNotification {
	m := logOf(n)
	m.Again = true
	m.Decisions = append(m.Decisions, events.Decision{Prio: "low", Tweaks: []byte(`{}`), Target: new(bool), RoomName: "Bob"})
	m.Users = append(m.Users, events.LogUser{UserID: "@b:x", Decision: 1, PushersRevision: 7})
	return m
}

// cutPosition returns a position with every field.
func cutPosition(at time.Time) events.InboxPosition {
	p := events.InboxPosition{Stream: at, Seq: 9, Head: 12, HeadAt: at}
	p.Cut(5, at, at)
	p.Head, p.HeadAt = 7, at
	return p
}

// The schema of dead letters lists every reason.
func TestDeadLetterReasonsAgree(t *testing.T) {
	listed := load(t, "dead_letter")["properties"].(map[string]any)["reason"].(map[string]any)["enum"].([]any)
	var want []any
	for _, reason := range events.DeadReasons() {
		want = append(want, string(reason))
	}
	if !slices.Equal(listed, want) {
		t.Errorf("the schema lists the reasons %v, want %v", listed, want)
	}
}

// fullRules has every key that a user's push rules can have.
func fullRules() events.UserPushRules {
	pattern, enabled := "x", false
	list := []pushrule.Rule{
		{ID: "a", Enabled: true, Conditions: []pushrule.Condition{`{"kind":"x","y":[1]}`, "null"}},
		{ID: "b", Default: true, Pattern: &pattern, Actions: []pushrule.Action{`"notify"`, `{"set_tweak":"sound","value":1}`}},
	}
	set := pushrule.Ruleset{Override: list, Content: list, Room: list, Sender: list, Underride: list}
	return events.UserPushRules{
		UserID: "@a:x", Version: 1, Published: &set, Devices: map[string]pushrule.Ruleset{"h": set, "i": {}}, IgnoredUsers: []events.UserID{"@b:x"},
		DoNotDisturb: &events.DoNotDisturb{Rooms: []events.RoomID{"!r", events.EveryRoom}, Highlights: true},
		Changes: pushrule.Changes{
			Override: list, Content: list, Room: list, Sender: list, Underride: list,
			Predefined: map[string]pushrule.Change{"c": {Enabled: &enabled}, "d": {Actions: []pushrule.Action{}}},
		},
	}
}

// fullTrace has every key that a trace can have.
func fullTrace(at time.Time) trace.Trace {
	happening, letter := &trace.Happening{Kind: "receipt", By: "@a:x", EventID: "$f", At: at}, &trace.Letter{Seq: 1, Reason: "refused", Detail: "d", At: at, LastError: "http_400"}
	rule := trace.Rule{RuleID: "r", Kind: pushrule.KindRoom, Actions: []pushrule.Action{`"notify"`}, Notify: true}
	return trace.Trace{
		EventID: "$e", RoomID: "!r", Type: "m.room.message", Sender: "@b:x", Seq: 7, At: at, SentAt: at, Thread: "$t", Suppressed: events.SuppressRepeated,
		FirstSeq: 3, Waiting: true, Room: trace.Room{Known: true, Name: "Room", Joined: 2}, Redacted: happening, Unreadable: letter,
		Users: []trace.User{{
			UserID: "@a:x", Membership: "join", Suppressed: events.SuppressMuted, Ignores: true, Rule: &rule, Devices: map[string]trace.Rule{"h": rule},
			Rules: []trace.RuleResult{{RuleID: "r", Kind: pushrule.KindRoom, Asked: true, Why: []string{"disabled"}}}, RulesChanged: at, Unread: true, Read: happening,
			Pushers: []trace.Pusher{{
				Pusher: "p", AppID: "a", App: "App", Device: "Phone", Gateway: "https://g.example", Gone: true, Fate: trace.FateDead, Newer: "$n", Letter: letter,
				Attempts: []trace.Attempt{{At: at, Outcome: "slow", Class: "http_4xx", Status: 400, Attempt: 1, TookMS: 1.5}}, State: &events.PusherState{},
			}},
		}},
	}
}

// TestRefusals checks that each schema refuses a value with one flaw.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ name, value, flaw string }{
		{"pushers", `{"user_id":"@a:x","version":1,"pushers":[]}`, "minItems"},
		{"pushers", `{"user_id":"@a:x","version":1,"pushers":[{"app_id":"a"}]}`, "missing properties"},
		{"push_rules", `{"user_id":"@a:x","version":0}`, "minimum"},
		{"push_rules", `{"user_id":"@a:x","version":1,"changes":{"room":[{"rule_id":"r"}]}}`, "missing properties"},
		{"push_rules", `{"user_id":"@a:x","version":1,"devices":{"":{}}}`, "minLength"},
		{"notification", `{"room_seq":1,"at":1,"event_id":"$e","rule_id":"r","tweaks":{}}`, "notification"},
		{"log_notification", `{"kind":"notify","room_id":"!r","room_seq":1,"at":1,"event_id":"$e","decisions":[{"rule_id":"r","prio":"low"}],"users":[{"user_id":"@a:x"}],"notification":{}}`, "tweaks"},
		{"read", `{"kind":"read","user_id":"@a:x","room_id":"!r"}`, "oneOf"},
		{"marked", `{"kind":"marked","user_id":"@a:x","room_id":"!r","unread":false,"by":1}`, "unread"},
		{"inbox", `{"applied":1,"incarnation":0,"marked":[1],"entries":[]}`, "minItems"},
		{"redaction", `{"kind":"redacted","room_id":"!r","room_seq":1,"seq":1,"users":[]}`, "minItems"},
		{"inbox", `{"applied":1,"incarnation":0,"entries":[[1,2,3]]}`, "minItems"},
		{"inbox_position", `{"seq":1,"sure":1}`, "stream"},
		{"backlog", `{"user_id":"@a:x","position":1,"attempts":1,"since":"now","next_try":"2026-07-01T00:00:00Z","last_error":""}`, "date-time"},
		{"position", `{"next":-1,"owner":"w"}`, "minimum"},
		{"pause", `{"origin":"","until":"2026-07-01T00:00:00Z"}`, "minLength"},
		{"vapid", `{"private_key":"A","subject":"mailto:a@matrix.org"}`, "minLength"},
		{"rejection", `{"user_id":"@a:x"}`, "missing properties"},
		{"dead_letter", `{"reason":"bored","at":"2026-07-01T00:00:00Z"}`, "one of"},
		{"dead_letter", `{"reason":"expired","at":"2026-07-01T00:00:00Z","message":"*"}`, "base64"},
		{"account_logout", `{"device_id":"D"}`, "user_id"},
		{"account_deactivated", `{}`, "user_id"},
		{"account_push_rules", `{"user_id":"@a:x","content":[]}`, "want null or object"},
		{"account_do_not_disturb", `{"user_id":"@a:x","content":{"rooms":[]}}`, "want null or object"},
		{"account_ignored_users", `{"user_id":"@a:x","content":{"ignored_users":[]}}`, "want null or object"},
	} {
		err := validate(t, compile(t, load(t, c.name)), []byte(c.value))
		if err == nil || !strings.Contains(err.Error(), c.flaw) {
			t.Errorf("%s: %s: %v, want an error about %q", c.name, c.value, err, c.flaw)
		}
	}
}

// TestRoomEventAgreesWithParser checks that the schema accepts exactly what
// [events.ParseRoomEvent] accepts.
func TestRoomEventAgreesWithParser(t *testing.T) {
	compiled := compile(t, load(t, "room_event"))
	long := strings.Repeat("x", events.MaxIDBytes)
	values := lines(t, "../testdata/events.jsonl")
	if len(values) < 100 {
		t.Fatalf("only %d recorded events", len(values))
	}
	recorded := len(values)
	for _, s := range []string{
		`{"event_id":"$e","room_id":"!r","type":"t","sender":"@a:x","content":{}}`,
		`{"event_id":"$e","room_id":"!r","type":"t","sender":"@a:x","content":{},"state_key":""}`,
		`{"event_id":"$` + long[1:] + `","room_id":"!r","type":"t","sender":"@a:x","content":{}}`,
		`{"event_id":"$` + long + `","room_id":"!r","type":"t","sender":"@a:x","content":{}}`,
		`{"event_id":"","room_id":"!r","type":"t","sender":"@a:x","content":{}}`,
		`{"room_id":"!r","type":"t","sender":"@a:x","content":{}}`,
		`{"event_id":"$e","type":"t","sender":"@a:x","content":{}}`,
		`{"event_id":"$e","room_id":"!r","sender":"@a:x","content":{}}`,
		`{"event_id":"$e","room_id":"!r","type":"t","content":{}}`,
		`{"event_id":"$e","room_id":"!r","type":"t","sender":"@a:x"}`,
		`{"event_id":"$e","room_id":"!r","type":"t","sender":"@a:x","content":[]}`,
		`{"event_id":"$e","room_id":"!r","type":"t","sender":"@a:x","content":null}`,
		`{"event_id":1,"room_id":"!r","type":"t","sender":"@a:x","content":{}}`,
		`{"event_id":"$e","room_id":"!r","type":"t","sender":"@a:x","content":{},"state_key":1}`,
		`{"event_id":"$e","room_id":"!r","type":"t","sender":"@a:x","content":{},"state_key":null}`,
		`[]`, `{`,
	} {
		values = append(values, []byte(s))
	}
	refused := 0
	for _, raw := range values {
		_, parseErr := events.ParseRoomEvent(raw)
		schemaErr := validate(t, compiled, raw)
		if (parseErr == nil) != (schemaErr == nil) {
			t.Errorf("%.200s\nparser: %v\nschema: %v", raw, parseErr, schemaErr)
		}
		if schemaErr != nil {
			refused++
		}
	}
	if refused == 0 || refused > len(values)-recorded {
		t.Errorf("%d refused: a recorded event must not be, a bad one must", refused)
	}
}

func TestReceipts(t *testing.T) {
	compiled := compile(t, load(t, "receipt"))
	recorded := lines(t, "../testdata/receipts.jsonl")
	if len(recorded) == 0 {
		t.Fatal("no recorded receipts")
	}
	for _, raw := range recorded {
		if err := validate(t, compiled, raw); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
	for _, bad := range []string{
		`{"type":"m.typing","room_id":"!r","content":{"$e":{}}}`,
		`{"type":"m.receipt","content":{"$e":{}}}`,
		`{"type":"m.receipt","room_id":"!r","content":{}}`,
		`{"type":"m.receipt","room_id":"!r","content":{"$e":{"m.read":["@a:x"]}}}`,
	} {
		if validate(t, compiled, []byte(bad)) == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

func lines(t *testing.T, path string) [][]byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all [][]byte
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, events.MaxEventBytes)
	for scanner.Scan() {
		all = append(all, bytes.Clone(scanner.Bytes()))
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
