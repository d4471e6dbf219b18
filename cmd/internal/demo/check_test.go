package demo

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A small recording: Alice has a pusher of her own with full pokes; she and Bob share one
// with event_id_only. Event $1 invites Alice to room !a, $2 and $3 are messages there, $4 is
// one in !b.
const (
	smallEvents = `
{"event_id":"$1","room_id":"!a","type":"m.room.member","sender":"@c:x","state_key":"@alice:x","content":{"membership":"invite"}}
{"event_id":"$2","room_id":"!a","type":"m.room.message","sender":"@c:x","content":{"body":"two","n":1.0}}
{"event_id":"$3","room_id":"!a","type":"m.room.message","sender":"@c:x","content":{"body":"three"}}
{"event_id":"$4","room_id":"!b","type":"m.room.message","sender":"@c:x","content":{"body":"four"}}`
	smallReceipts = `
{"type":"m.receipt","room_id":"!a","content":{"$3":{"m.read":{"@alice:x":{"ts":1}}}},"after_event_id":"$3"}`
	smallPushers = `[
{"user_id":"@alice:x","app_id":"app","pushkey":"own","device_display_name":"Own","data":{"url":"u","k":[1]}},
{"user_id":"@alice:x","app_id":"app","pushkey":"both","device_display_name":"Both","data":{"url":"u","format":"event_id_only"}},
{"user_id":"@bob:x","app_id":"app","pushkey":"both","device_display_name":"Both","data":{"url":"u","format":"event_id_only"}}]`
	smallGolden = `
{"event_id":"$1","membership":"invite","notified":[{"prio":"high","tweaks":{"sound":"default"},"room_name":"C","user_is_target":true,"users":["@alice:x"]}]}
{"event_id":"$2","sender_display_name":"C","notified":[{"prio":"low","tweaks":{},"room_name":"A","users":["@alice:x","@bob:x"]}]}
{"event_id":"$3","sender_display_name":"C","notified":[{"prio":"low","tweaks":{},"room_name":"A","users":["@alice:x","@nobody:x"]}]}
{"event_id":"$4","room_alias":"#b:x","notified":[{"prio":"low","tweaks":{},"room_name":"B","users":["@alice:x"]}]}`
	// Nobody reads anything, or Alice reads room !a and Bob everything.
	smallUnread = `
{"user_id":"@alice:x","event_ids":["$1","$2","$3","$4"]}
{"user_id":"@bob:x","event_ids":["$2"]}`
	smallRead = `
{"user_id":"@alice:x","event_ids":["$4"]}
{"user_id":"@bob:x","event_ids":[]}`
)

func smallFiles(unread string) recordedFiles {
	return recordedFiles{
		events: strings.TrimSpace(smallEvents), receipts: strings.TrimSpace(smallReceipts), pushers: smallPushers,
		golden: strings.TrimSpace(smallGolden), unread: strings.TrimSpace(unread),
	}
}

// send returns the pokes of a recording in a compact script: "own $1 1" is the
// poke for $1 to the pushkey own, with 1 unread; "own - 1" is a badge-only poke.
func send(t *testing.T, script ...string) (bodies []string) {
	t.Helper()
	contents := map[string]string{
		"$1": `"room_id":"!a","type":"m.room.member","sender":"@c:x","content":{"membership":"invite"},"prio":"high","room_name":"C","user_is_target":true,"membership":"invite"`,
		"$2": `"room_id":"!a","type":"m.room.message","sender":"@c:x","content":{"n":1.0,"body":"two"},"prio":"low","room_name":"A","sender_display_name":"C"`,
		"$3": `"room_id":"!a","type":"m.room.message","sender":"@c:x","content":{"body":"three"},"prio":"low","room_name":"A","sender_display_name":"C"`,
		"$4": `"room_id":"!b","type":"m.room.message","sender":"@c:x","content":{"body":"four"},"prio":"low","room_name":"B","room_alias":"#b:x"`,
	}
	ids := map[string]string{
		"$1": `"room_id":"!a","prio":"high"`, "$2": `"room_id":"!a","prio":"low"`,
		"$3": `"room_id":"!a","prio":"low"`, "$4": `"room_id":"!b","prio":"low"`,
	}
	for _, line := range script {
		var pushkey, event string
		var unread int
		if _, err := fmt.Sscan(line, &pushkey, &event, &unread); err != nil {
			t.Fatal(err)
		}
		if event == "-" {
			data := map[string]string{"own": `{"k":[1]}`, "both": `{"format":"event_id_only"}`}[pushkey]
			bodies = append(bodies, fmt.Sprintf(`{"notification":{"prio":"low","counts":{"unread":%d},`+
				`"devices":[{"app_id":"app","pushkey":%q,"pushkey_ts":%d,"data":%s}]}}`, unread, pushkey, time.Now().Unix(), data))
			continue
		}
		fields, data, tweaks := contents[event], `{"k":[1]}`, ""
		if pushkey == "both" {
			fields, data = ids[event], `{"format":"event_id_only"}`
		} else if event == "$1" {
			tweaks = `,"tweaks":{"sound":"default"}`
		}
		bodies = append(bodies, fmt.Sprintf(`{"notification":{"event_id":%q,%s,"counts":{"unread":%d},`+
			`"devices":[{"app_id":"app","pushkey":%q,"pushkey_ts":%d,"data":%s%s}]}}`,
			event, fields, unread, pushkey, time.Now().Unix(), data, tweaks))
	}
	return bodies
}

var (
	smallOwn  = []string{"own $1 1", "own $2 2", "own $3 3", "own $4 4"}
	smallBoth = []string{"both $1 1", "both $2 2", "both $2 1", "both $3 3", "both $4 4"}
)

// checked returns a checker after it has checked the pokes.
func checked(t *testing.T, files recordedFiles, bodies []string) *checker {
	t.Helper()
	rec, err := readRecording(files)
	if err != nil {
		t.Fatal(err)
	}
	check := newChecker(rec)
	for _, body := range bodies {
		a := arrivalOf(t, body)
		check.take(&a)
	}
	check.finish()
	return check
}

func TestCheckOfWhichPokesArrive(t *testing.T) {
	for _, tt := range []struct {
		name      string
		own, both []string
		want      tally
	}{
		{"all", smallOwn, smallBoth, tally{Arrived: 9}},
		{"rooms overtake each other", []string{"own $4 1", "own $1 2", "own $2 3", "own $3 4"}, smallBoth, tally{Arrived: 9}},
		{"owners overtake each other", smallOwn, []string{"both $2 1", "both $1 1", "both $2 2", "both $3 3", "both $4 4"}, tally{Arrived: 9}},
		{"one is missing", smallOwn[:3], smallBoth, tally{Arrived: 8, Missing: 1, Miscounted: 1}},
		{"one owner's is missing", smallOwn, []string{"both $1 1", "both $2 2", "both $3 3", "both $4 4"}, tally{Arrived: 8, Missing: 1, Miscounted: 1}},
		{"twice", append(smallOwn[:4:4], "own $4 4"), smallBoth, tally{Arrived: 10, Unexpected: 1}},
		{"thrice to two owners", smallOwn, append(smallBoth[:5:5], "both $2 2"), tally{Arrived: 10, Unexpected: 1}},
		{"late in its room", []string{"own $1 1", "own $3 2", "own $2 3", "own $4 4"}, smallBoth, tally{Arrived: 9, Disordered: 1}},
		{"late at a shared pushkey", smallOwn, []string{"both $3 1", "both $2 1", "both $1 2", "both $2 3", "both $4 4"}, tally{Arrived: 9, Disordered: 2}},
		{"badges arrive too", append(smallOwn[:4:4], "own - 3", "own - 4"), append(smallBoth[:5:5], "both - 4", "both - 4"), tally{Arrived: 9, Badges: 4}},
		{"a badge is repeated", append(smallOwn[:4:4], "own - 4"), smallBoth, tally{Arrived: 9, Badges: 1, Disordered: 1}},
		{"the last count is wrong", append(smallOwn[:4:4], "own - 3"), smallBoth, tally{Arrived: 9, Badges: 1, Miscounted: 1}},
		{"an owner's last count is wrong", smallOwn, []string{"both $1 1", "both $2 2", "both $2 2", "both $3 3", "both $4 4"}, tally{Arrived: 9, Miscounted: 1}},
		{"a count is 0 with an event", []string{"own $1 0", "own $2 2", "own $3 3", "own $4 4"}, smallBoth, tally{Arrived: 9, Different: 1}},
		{"a count is left out", []string{"own $1 1", "own $2 2", "own $3 4", "own $4 5"}, smallBoth, tally{Arrived: 9, Disordered: 1, Miscounted: 1}},
		{"a count goes back", []string{"own $1 1", "own $2 2", "own $3 2", "own $4 3"}, smallBoth, tally{Arrived: 9, Miscounted: 1}},
		{"a count of both owners together", smallOwn, []string{"both $1 1", "both $2 2", "both $2 3", "both $3 4", "both $4 5"}, tally{Arrived: 9, Disordered: 1, Miscounted: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkSmall(t, smallUnread, tt.own, tt.both, tt.want)
		})
	}
}

// checkSmall checks pokes of the small recording.
func checkSmall(t *testing.T, unread string, own, both []string, want tally) {
	t.Helper()
	want.Expected = 9
	check := checked(t, smallFiles(unread), send(t, slices.Concat(own, both)...))
	if check.tally != want {
		t.Errorf("%+v, want %+v:\n%s", check.tally, want, strings.Join(check.problems, "\n"))
	}
	if flaws := want.Missing + want.Unexpected + want.Different + want.Disordered + want.Miscounted; check.flawless() != (flaws == 0) {
		t.Errorf("flawless: %t", check.flawless())
	}
}

// Pokes of events that are read at some time may be missing; others must arrive.
func TestCheckOfWhatIsRead(t *testing.T) {
	own, both := []string{"own $4 1"}, []string{"both $4 1"}
	for _, tt := range []struct {
		name      string
		own, both []string
		want      tally
	}{
		{"read first", own, both, tally{Arrived: 2, Read: 7}},
		{"read after it was sent", []string{"own $1 1", "own $2 2", "own $3 3", "own - 0", "own $4 1"},
			[]string{"both $1 1", "both $2 2", "both $2 1", "both $3 3", "both - 0", "both - 0", "both $4 1"}, tally{Arrived: 9, Badges: 3}},
		{"what is left is missing", []string{"own $1 1", "own - 0"}, both, tally{Arrived: 2, Badges: 1, Read: 6, Missing: 1, Miscounted: 1}},
		{"read and twice", []string{"own $1 1", "own $1 1", "own $4 1"}, both, tally{Arrived: 4, Read: 6, Unexpected: 1}},
		{"read and late in its room", []string{"own $3 1", "own $2 1", "own $4 1"}, both, tally{Arrived: 4, Read: 5, Disordered: 1}},
		{"a receipt is ignored", []string{"own $1 1", "own $2 2", "own $3 3", "own $4 4"}, both, tally{Arrived: 5, Read: 4, Miscounted: 1}},
		{"an owner's badge stays", own, []string{"both $2 1", "both $2 1", "both $4 1"}, tally{Arrived: 4, Read: 5, Miscounted: 1}},
		{"an owner's badge is cleared", own, []string{"both $2 1", "both $2 1", "both - 0", "both $4 1"}, tally{Arrived: 4, Badges: 1, Read: 5}},
	} {
		t.Run(tt.name, func(t *testing.T) { checkSmall(t, smallRead, tt.own, tt.both, tt.want) })
	}
}

// A pusher without a badge gets pokes without counts.
func TestCheckOfPusherWithoutBadge(t *testing.T) {
	files := smallFiles(smallUnread)
	plain, quiet := `"k":[1]`, `"k":[1],"org.matrix.msc4076.disable_badge_count":true`
	files.pushers = strings.Replace(files.pushers, plain, quiet, 1)
	bodies := send(t, slices.Concat(smallOwn, smallBoth, []string{"own - 4"})...)
	for i, body := range bodies {
		body = strings.Replace(body, plain, quiet, 1)
		if i < 3 {
			body = regexp.MustCompile(`"counts":{"unread":\d},`).ReplaceAllString(body, "")
		}
		bodies[i] = body
	}
	check := checked(t, files, bodies)
	if want := (tally{Expected: 9, Arrived: 9, Badges: 1, Different: 1, Unexpected: 1}); check.tally != want {
		t.Errorf("%+v, want %+v:\n%s", check.tally, want, strings.Join(check.problems, "\n"))
	}
}

func TestCheckOfWhatPokesHold(t *testing.T) {
	for _, tt := range []struct {
		name     string
		old, new string // in the poke for $2
		want     string // the members that differ
	}{
		{"content", `"two"`, `"zwei"`, "content.body"},
		{"a number is rewritten", `1.0`, `1`, "content.n"},
		{"a name is absent", `"sender_display_name":"C",`, ``, "sender_display_name"},
		{"null for what is absent", `"prio":`, `"room_alias":null,"prio":`, "room_alias"},
		{"an unknown member", `"prio":`, `"id":"$2","prio":`, "id"},
		{"url goes to the gateway", `{"k":[1]}`, `{"k":[1],"url":"u"}`, "devices.data.url"},
		{"time in milliseconds", `"pushkey_ts":`, `"pushkey_ts":1000`, "devices.pushkey_ts"},
		{"no time", `"pushkey_ts":`, `"ts":`, "devices.pushkey_ts, devices.ts"},
		{"empty tweaks", `"data":`, `"tweaks":{},"data":`, "devices.tweaks"},
		{"more counts", `"unread":2`, `"unread":2,"missed_calls":0`, "counts.missed_calls"},
		{"room", `"!a"`, `"!b"`, "room_id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bodies := send(t, slices.Concat(smallOwn, smallBoth)...)
			changed := strings.Replace(bodies[1], `"prio":"low","room_name":"A","sender_display_name":"C",`,
				`"sender_display_name":"C","prio":"low","room_name":"A",`, 1)
			if bodies[1] = strings.Replace(changed, tt.old, tt.new, 1); bodies[1] == changed {
				t.Fatalf("%s is not in %s", tt.old, changed)
			}
			check := checked(t, smallFiles(smallUnread), bodies)
			if check.tally.Different != 1 || check.tally.Missing != 0 {
				t.Errorf("tally: %s", check.tally)
			}
			if want := "for Own: " + tt.want; len(check.problems) == 0 || !strings.HasSuffix(check.problems[0], want) {
				t.Errorf("problems %q, want %q", check.problems, want)
			}
		})
	}
}

func TestRecordingMustFitTogether(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files recordedFiles
		want  string
	}{
		{"event of the list is unknown", recordedFiles{golden: `{"event_id":"$9"}`}, "event $9 was not recorded"},
		{"list is no JSON", recordedFiles{golden: `{`}, "read golden list"},
		{"bad event", recordedFiles{events: `{}`}, "read recorded events"},
		{"pusher without data", recordedFiles{pushers: `[{"user_id":"@a:x"}]`}, "pusher 1 has no data"},
		{"receipt after an unknown event", recordedFiles{receipts: `{"after_event_id":"$9"}`}, "receipts: event $9 was not recorded"},
		{"unread event is unknown", recordedFiles{unread: `{"user_id":"@a:x","event_ids":["$9"]}`}, "unread events: event $9 was not recorded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.files.pushers == "" {
				tt.files.pushers = "[]"
			}
			_, err := readRecording(tt.files)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
