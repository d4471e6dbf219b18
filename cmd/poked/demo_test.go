package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"poked/testdata"
)

// The program, whole and over its own interfaces, sends exactly the pokes that
// follow from the recorded events by the specification.
func TestDemoPokesEqualGoldenList(t *testing.T) {
	got := poked(t, "", "demo", "--json", "--rate=0")
	if got.code != exitOK {
		t.Fatalf("exit code %d:\n%s", got.code, got.stderr)
	}
	rec, err := readRecording(testdata.Events(), testdata.Pushers(), testdata.Pokes())
	if err != nil {
		t.Fatal(err)
	}
	// What main printed is checked again, by a checker that saw nothing else.
	check := newChecker(rec)
	for line := range strings.Lines(got.stdout) {
		a := arrivalOf(t, line)
		check.take(&a)
	}
	check.finish()
	if !check.flawless() {
		t.Errorf("%s:\n%s", check.tally, strings.Join(check.problems, "\n"))
	}
	if want := "once, in order and as it must be: 12707 of 12707"; !strings.Contains(got.stderr, want) {
		t.Errorf("standard error %q, want %q in it", got.stderr, want)
	}
}

// A list that differs from what the program sends makes the demo fail, whatever
// the difference.
func TestDemoFailsUnlessPokesEqualList(t *testing.T) {
	lines := strings.SplitAfter(testdata.Pokes(), "\n")
	for i, change := range []struct{ old, new string }{
		0: {lines[0], ""},                                               // bob's two pushers; at each the next poke counts 2, not 1
		1: {`"room_name":"Zoë`, `"room_name":"Zoe`},                     // taro's two pushers
		2: {`"users":[`, `"users":["@alice:example.org",`},              // one pusher more
		5: {`"high","tweaks":{"sound":"default"}`, `"low","tweaks":{}`}, // alice's one pusher
	} {
		lines[i] = strings.Replace(lines[i], change.old, change.new, 1)
	}
	var stdout, stderr bytes.Buffer
	std := streams{in: strings.NewReader(""), out: &stdout, err: &stderr}
	err := (&demoCmd{Quiet: true}).perform(t.Context(), std, strings.Join(lines, ""), 3*time.Second)
	if err == nil {
		t.Fatalf("no error:\n%s", &stdout)
	}
	if want := "12707 pokes arrived, 12706 had to, 1 missing, 2 not owed, 3 not as they must be, " +
		"2 out of order"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	for _, want := range []string{
		"not owed: event 8 ($r9YLHQAP9iqzMURltNKb2lQAYQfIwHq7tykaEt8HbdE) for bob Pixel\n",
		"for taro Laptop: room_name\n",
		"for alice Pixel: devices.tweaks, prio\n",
		"missing: event ",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("standard output %q, want %q in it", &stdout, want)
		}
	}
}

// Interrupted, it stops at once, says so and leaves nothing behind.
func TestDemoStops(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, interrupt := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	code := run(ctx, []string{"demo", "--rate=1"}, strings.NewReader(""), onWrite(interrupt), &stderr)
	if code != exitFailure || !strings.Contains(stderr.String(), "stopped before every poke was there") {
		t.Errorf("exit code %d, standard error %q", code, &stderr)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// onWrite is a writer that calls itself for each write.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func TestDemoShowsPokes(t *testing.T) {
	std := streams{out: new(bytes.Buffer)}
	s := (&demoCmd{}).screen(std, 1)
	body := `{"notification":{"event_id":"$e","room_id":"!r","type":"m.room.message","sender":"@bob:x","prio":"high",
		"room_name":"A\u001b[2J\u202e room with a long, long name","counts":{"unread":7},"content":{"body":"hi\nthere 👩‍💻"},
		"devices":[{"app_id":"a","pushkey":"k","tweaks":{"sound":"ring","highlight":true}}]}}`
	for _, tt := range []struct {
		name, body string
		width      int
		want       string
	}{
		{"message", body, 120, "  0.012      7  high ring !     alice Pixel       A [2J  room with a …  @bob:x: hi there 👩‍💻"},
		{"narrow", body, 90, "  0.012      7  high ring !     alice Pixel       A [2J  room with a …  @bob:x: hi there …"},
		{"event", strings.Replace(body, `"body"`, `"call_id"`, 1), 120,
			"  0.012      7  high ring !     alice Pixel       A [2J  room with a …  @bob:x: (m.room.message)"},
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

// arrivalOf returns a poke as the gateway would hand it on.
func arrivalOf(t *testing.T, body string) arrival {
	t.Helper()
	a := arrival{at: time.Now(), body: []byte(body)}
	if err := json.Unmarshal(a.body, &a.poke); err != nil {
		t.Fatal(err)
	}
	if err := decodeTree(a.body, &a.tree); err != nil {
		t.Fatal(err)
	}
	return a
}
