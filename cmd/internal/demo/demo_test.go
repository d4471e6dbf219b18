package demo

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"poked/cmd/internal/terminal"
	"poked/cmd/internal/testgateway"
	"poked/events/eventstest"
)

// The whole program, over its real interfaces, sends exactly the pokes that the specification
// requires for the recorded events, and any difference between the list and the pokes makes the
// demo fail. It plays with a list that is wrong, which a checker with the right one finds out. All
// changes are to pokes of events that nobody reads, which must arrive.
// TestReplayedTransactionsCauseTheSamePokes sees a demo that succeeds.
func TestDemoPokesEqualGoldenList(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	files := testdataFiles()
	lines := strings.SplitAfter(files.golden, "\n")
	for i, change := range map[int]struct{ old, new string }{
		189: {lines[189], ""},                                             // j's one pusher
		289: {`"room_name":"Team Falcon`, `"room_name":"Team Hawk`},       // o_ren's one pusher
		265: {`"users":[`, `"users":["@alice:example.org",`},              // one pusher more
		498: {`"high","tweaks":{"sound":"default"}`, `"low","tweaks":{}`}, // alice's one pusher
	} {
		lines[i] = replaceOne(t, lines[i], change.old, change.new)
	}
	files.golden = strings.Join(lines, "")
	alice, ursula := `"@alice:example.org","event_ids":[`, `"@ursula:example.org","event_ids":[`
	files.unread = replaceOne(t, files.unread, alice, alice+`"$b2gl-01tsmiClKPyBUs2-79OUSIVXKsOlaSg4aEGE_w",`) // of line 265
	files.unread = replaceOne(t, files.unread, ursula+`"$w7zFIiWPA2eZwFca7Dc2kCvqb6HKpCfE6i2Qq8pQxNo",`, ursula)
	var stdout, stderr bytes.Buffer
	std := terminal.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr}
	err := (&Cmd{JSON: true}).play(t.Context(), std, files, 8*time.Second)
	if err == nil {
		t.Fatalf("no error:\n%s", &stderr)
	}
	if want := ", 1 missing, 1 unexpected, 2 wrong, 2 wrong last badges"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %q, want %q at its end", err, want)
	}
	for _, want := range []string{
		"unexpected: event 440 ($YD7k4mCm__6_Krf70RA0tCcbN1tvOMiExHhrhVi_-eA) for j Tablet\n",
		"for o_ren Pixel: room_name\n",
		"for alice Pixel: devices.tweaks, prio\n",
		"missing: event 540 ",
		"the last badge is 56, unread at the end is [57]: alice Pixel\n",
		"the last badge is 13, unread at the end is [12]: ursula ",
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("standard error %q, want %q in it", &stderr, want)
		}
	}
	rec, err := readRecording(testdataFiles())
	if err != nil {
		t.Fatal(err)
	}
	check := newChecker(rec)
	for line := range strings.Lines(stdout.String()) {
		a := arrivalOf(t, line)
		check.take(&a)
	}
	check.finish()
	if !check.flawless() {
		t.Errorf("%s:\n%s", check.tally, strings.Join(check.problems, "\n"))
	}
	if check.tally.Badges == 0 {
		t.Error("no badge was cleared")
	}
}

// replaceOne replaces a text that must exist.
func replaceOne(t *testing.T, text, old, replacement string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not there", old)
	}
	return strings.Replace(text, old, replacement, 1)
}

func TestDemoShowsPokes(t *testing.T) {
	std := terminal.Streams{Out: new(bytes.Buffer)}
	s := (&Cmd{}).screen(std, 1)
	body := `{"notification":{"event_id":"$e","room_id":"!r","type":"m.room.message","sender":"@bob:x","prio":"high",
		"room_name":"A\u001b[2J\u202e room with a long, long name","counts":{"unread":7},"content":{"body":"hi\nthere 👩‍💻"},
		"devices":[{"app_id":"a","pushkey":"k","tweaks":{"sound":"ring","highlight":true}}]}}`
	for _, tt := range []struct {
		name, body string
		width      int
		want       string
	}{
		{"message", body, 120, "  0.012      7  high ring !     alice Pixel       A [2J  room with a …  @bob:x: hi there 👩‍💻"},
		{"narrow", body, 80, "  0.012      7  high ring !     alice Pixel    A [2J  room …  @bob:x: hi there …"},
		{"less narrow", body, 90, "  0.012      7  high ring !     alice Pixel       A [2J  room with a …  @bob:x: hi there …"},
		{"event", strings.Replace(body, `"body"`, `"call_id"`, 1), 120,
			"  0.012      7  high ring !     alice Pixel       A [2J  room with a …  @bob:x: (m.room.message)"},
		{"badge", `{"notification":{"prio":"low","counts":{"unread":0},"devices":[{}]}}`, 120,
			"  0.012      0  low             alice Pixel                             (badge)"},
		{"no counts", `{"notification":{"event_id":"$e","room_id":"!r","prio":"low","devices":[{}]}}`, 120,
			"  0.012         low             alice Pixel                             $e"},
		{"ids only", `{"notification":{"event_id":"$e","room_id":"!r","prio":"low","counts":{"unread":1},"devices":[{}]}}`, 120,
			"  0.012      1  low             alice Pixel                             $e"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.width = tt.width
			a := arrivalOf(t, tt.body)
			if got := s.line(&a, &recordedPusher{device: "alice Pixel"}, 12*time.Millisecond); got != tt.want {
				t.Errorf("\ngot  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// arrivalOf returns a poke as the gateway would pass it on.
func arrivalOf(t *testing.T, body string) arrival {
	t.Helper()
	a := arrival{Poke: testgateway.Parse(time.Now(), []byte(body))}
	if err := decodeTree(a.Body, &a.tree); err != nil {
		t.Fatal(err)
	}
	return a
}

// Without --all only the first poke of each kind is shown.
func TestDemoShowsAPokeOfEachKind(t *testing.T) {
	loud := `{"notification":{"event_id":"$e","type":"m.room.message","prio":"high","devices":[{"tweaks":{"sound":"ring"}}]}}`
	quiet := `{"notification":{"event_id":"$e","type":"m.room.message","prio":"low","devices":[{}]}}`
	ids := `{"notification":{"event_id":"$e","prio":"low","devices":[{}]}}`
	badge := `{"notification":{"counts":{"unread":0},"devices":[{}]}}`
	pokes := []string{loud, quiet, loud, ids, badge, quiet, badge, ids}
	for _, tt := range []struct {
		name  string
		cmd   Cmd
		lines int // with the head
	}{
		{"of each kind", Cmd{}, 1 + 4},
		{"all", Cmd{All: true}, 1 + len(pokes)},
		{"JSON", Cmd{JSON: true}, len(pokes)},
	} {
		var out bytes.Buffer
		s := tt.cmd.screen(terminal.Streams{Out: &out, Err: new(bytes.Buffer)}, len(pokes))
		for _, body := range pokes {
			a := arrivalOf(t, body)
			if err := s.show(&a, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Count(out.String(), "\n"); got != tt.lines {
			t.Errorf("%s: %d lines, want %d:\n%s", tt.name, got, tt.lines, &out)
		}
	}
}
