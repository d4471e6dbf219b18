package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// startDeadLetters starts a NATS with dead letters: two expired pokes of @bob, one of @eve,
// whose pusher is gone, and an unreadable event.
func startDeadLetters(t *testing.T) (url string) {
	t.Helper()
	url, _ = startStreams(t)
	conn, err := stream.Connect(t.Context(), stream.Config{URL: url, Name: t.Name(), Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	pusher := events.Pusher{AppID: "app", Pushkey: "SECRET-pushkey"}
	if err := conn.PutPushers(t.Context(), events.UserPushers{UserID: "@bob:x", Version: 1, Pushers: []events.Pusher{pusher}}); err != nil {
		t.Fatal(err)
	}
	n := events.Notification{
		About: events.About{EventID: "$e", RoomSeq: 1, At: time.Now()}, RuleID: "rule", Tweaks: []byte(`{}`), Body: []byte(`{"content":{"body":"SECRET-body"}}`),
	}
	poke := events.DeadLetter{
		Reason: "expired", At: time.Now(), UserID: "@bob:x", RoomID: "!r:x", EventID: "$e", AppID: "app", Pushkey: "SECRET-pushkey",
		Attempts: 7, LastError: "http_502", Message: n.AppendJSON(nil),
	}
	gone := poke
	gone.UserID = "@eve:x"
	bad := events.DeadLetter{
		Reason: "bad_event", Detail: "not JSON", At: time.Now(),
		Subject: "rooms.0." + events.Token("!r:x") + ".event", Message: []byte("SECRET-body \x1b[2J\xff"),
	}
	for _, letter := range []events.DeadLetter{poke, poke, gone, bad} {
		stored := make(chan error, 1)
		conn.PublishDead(letter, func(err error) { stored <- err })
		if err := <-stored; err != nil {
			t.Fatal(err)
		}
	}
	return url
}

// listedDead returns the numbers of the dead letters that "dead list" shows with these
// flags.
func listedDead(t *testing.T, url string, flags ...string) (seqs []int) {
	t.Helper()
	got := poked(t, "", append([]string{"dead", "list", "--nats", url, "--json"}, flags...)...)
	got.Want(t, ExitOK, "", "")
	for line := range strings.Lines(got.Stdout) {
		var letter struct {
			Seq int
		}
		if err := json.Unmarshal([]byte(line), &letter); err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, letter.Seq)
	}
	return seqs
}

func TestDeadList(t *testing.T) {
	url := startDeadLetters(t)
	got := poked(t, "", "dead", "list", "--nats", url)
	got.Want(t, ExitOK, "@bob:x", "")
	lines := strings.Split(strings.TrimSpace(got.Stdout), "\n")
	if len(lines) != 5 {
		t.Fatalf("want a header and four dead letters:\n%s", got.Stdout)
	}
	digest := string(events.NewPusherID("@bob:x", "app", "SECRET-pushkey"))
	if want := []string{"1", "expired", "@bob:x", "!r:x", "$e", "app", digest, "7", "http_502"}; !containsAll(lines[1], want) {
		t.Errorf("%q lacks one of %q", lines[1], want)
	}
	for _, column := range []string{"REASON", "EVENT", "PUSHER"} {
		at := strings.Index(lines[0], column)
		for _, line := range lines[1:] {
			if at < 1 || line[at-1] != ' ' || line[at] == ' ' {
				t.Errorf("column %s does not begin at %d of %q", column, at, line)
			}
		}
	}
	for flags, want := range map[string][]int{
		"": {1, 2, 3, 4}, "--user @bob:x": {1, 2}, "--reason bad_event": {4}, "--room !r:x": {1, 2, 3, 4}, "--app-id other": nil,
		"--since 30m": {1, 2, 3, 4}, "--until 30m": nil, "--seq 2,4": {2, 4}, "--limit 0": {1, 2, 3, 4},
		"--since " + time.Now().Add(time.Hour).Format(time.RFC3339): nil,
	} {
		if got := listedDead(t, url, strings.Fields(flags)...); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", flags, got, want)
		}
	}
	poked(t, "", "dead", "list", "--nats", url, "--limit", "3").Want(t, ExitOK, "@eve:x", "--limit 0 lists all")
}

func containsAll(line string, words []string) bool {
	fields := strings.Fields(line)
	return !slices.ContainsFunc(words, func(word string) bool { return !slices.Contains(fields, word) })
}

func TestDeadShow(t *testing.T) {
	url := startDeadLetters(t)
	poked(t, "", "dead", "show", "--nats", url, "1", "4").Want(t, ExitOK, "reason:   bad_event", "")
	poked(t, "", "dead", "show", "--nats", url, "--json", "1").Want(t, ExitOK, `"last_error":"http_502"`, "")
	poked(t, "", "dead", "show", "--nats", url, "99").Want(t, ExitFailure, "", "dead letter 99: no such dead letter")
	for _, flags := range [][]string{nil, {"--json"}} {
		got := poked(t, "", append([]string{"dead", "show", "--nats", url, "--content", "1", "4"}, flags...)...)
		if got.Code != ExitOK || strings.Count(got.Stdout, "SECRET-body") != 2 || strings.Contains(got.Stdout, "SECRET-pushkey") {
			t.Errorf("exit code %d, %q", got.Code, got.Stdout)
		}
		if strings.ContainsAny(got.Stdout, "\x1b") {
			t.Errorf("the output contains terminal escapes: %q", got.Stdout)
		}
	}
}

func TestDeadRetry(t *testing.T) {
	eventstest.Long(t)
	url := startDeadLetters(t)
	notifications := openStream(t, url, "NOTIFICATIONS")
	poked(t, "", "dead", "retry", "--nats", url, "--dry-run").Want(t, ExitFailure, "", "its pusher is gone")
	poked(t, "", "dead", "retry", "--nats", url, "--user", "@bob:x", "--dry-run", "--json").
		Want(t, ExitOK, `{"found":2,"done":2,"refused":0,"gone":0,"dry_run":true,"complete":true}`, "of 2 dead letters 2 would be retried")
	info, err := notifications.Info(t.Context())
	if left := listedDead(t, url); err != nil || len(left) != 4 || info.State.LastSeq != 0 {
		t.Errorf("a dry run leaves dead letters %v and notifications %+v, %v", left, info, err)
	}
	poked(t, "", "dead", "retry", "--nats", url, "--user", "@bob:x", "--limit", "1", "--rate", "50").
		Want(t, ExitOK, "", "of 1 dead letters 1 retried")
	poked(t, "", "dead", "retry", "--nats", url, "--yes", "--json").
		Want(t, ExitFailure, `"done":2,"refused":1`, "of 3 dead letters 2 retried, 1 cannot be tried again and stay")
	if left := listedDead(t, url); !slices.Equal(left, []int{3}) {
		t.Errorf("%v are left", left)
	}
	again := stored(t, notifications)
	if len(again) != 2 {
		t.Fatalf("%d notifications, want 2", len(again))
	}
	m, err := events.ParseLog(again[0].Data)
	if err != nil || m.Notify == nil {
		t.Fatalf("%s: %v", again[0].Data, err)
	}
	if n := m.Notify; n.Only != events.NewPusherID("@bob:x", "app", "SECRET-pushkey") || time.Since(n.At) > time.Minute {
		t.Errorf("the notification is for %q as of %s", n.Only, n.At)
	}
}

func TestDeadDrop(t *testing.T) {
	url := startDeadLetters(t)
	poked(t, "", "dead", "drop", "--nats", url, "--dry-run").Want(t, ExitOK, "", "of 4 dead letters 4 would be dropped")
	poked(t, "", "dead", "drop", "--nats", url, "--user", "@bob:x").Want(t, ExitOK, "", "of 2 dead letters 2 dropped")
	if left := listedDead(t, url); !slices.Equal(left, []int{3, 4}) {
		t.Errorf("%v are left", left)
	}
	poked(t, "", "dead", "drop", "--nats", url, "--yes").Want(t, ExitOK, "", "2 dropped")
	poked(t, "", "dead", "drop", "--nats", url, "--yes").Want(t, ExitOK, "", "of 0 dead letters 0 dropped")
}

// Without poked there are no dead letters, and the commands do not set up streams.
func TestDeadNeedsPoked(t *testing.T) {
	_, url := startTestNATS(t)
	for range 2 {
		poked(t, "", "dead", "list", "--nats", url).Want(t, ExitFailure, "", "no stream takes it")
	}
}
