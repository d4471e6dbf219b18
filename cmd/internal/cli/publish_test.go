package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/cmd/internal/clitest"
	"poked/cmd/internal/node"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// startStreams starts NATS with the streams set up. It returns the URL and the stream of room
// events.
func startStreams(t *testing.T) (url string, rooms jetstream.Stream) {
	t.Helper()
	_, url = startTestNATS(t)
	conn, err := stream.Connect(t.Context(), stream.Config{URL: url, Name: t.Name(), Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.Setup(t.Context(), stream.Topology{Partitions: 2, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	return url, openStream(t, url, "ROOMS")
}

func openStream(t *testing.T, url, name string) jetstream.Stream {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// stored returns the messages of the stream, in order.
func stored(t *testing.T, stream jetstream.Stream) []*jetstream.RawStreamMsg {
	t.Helper()
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var msgs []*jetstream.RawStreamMsg
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		msgs = append(msgs, msg)
	}
	return msgs
}

func message(room string, n int) string {
	return fmt.Sprintf(`{"event_id":"$%s-%d","room_id":"!%s:example.org","type":"m.room.message","sender":"@a:example.org","content":{}}`, room, n, room)
}

func TestPublishReportsBadRecords(t *testing.T) {
	url, rooms := startStreams(t)
	long := `{"event_id":"$long","content":{"body":"` + strings.Repeat("x", events.MaxEventBytes) + `"}}`
	file := writeFile(t, "events.jsonl", strings.Join([]string{
		message("a", 1),
		`not json`,
		``,
		`{"event_id":"$e","type":"m.room.message","sender":"@a:example.org","content":{}}`,
		`{"type":"m.receipt","room_id":"!a:example.org","content":{}}`,
		long,
		`{"type":"m.receipt","room_id":"!a:example.org","content":{"$a-1":{"m.read":{"@b:example.org":{"ts":1}}}}}`,
		message("a", 2),
	}, "\n"))
	got := poked(t, message("b", 1), "publish", "--nats", url, "--json", file, "-")
	if got.Code != ExitFailure {
		t.Errorf("exit code %d, want %d", got.Code, ExitFailure)
	}
	for line, reason := range map[int]string{2: "not JSON", 4: "room_id is missing", 5: "content names no event", 6: "the limit is"} {
		if want := fmt.Sprintf("%s:%d: bad event: ", file, line); !strings.Contains(got.Stderr, want) || !strings.Contains(got.Stderr, reason) {
			t.Errorf("standard error lacks %q with %q:\n%s", want, reason, got.Stderr)
		}
	}
	if lines := strings.Count(got.Stderr, "\n"); lines != 5 {
		t.Errorf("%d lines on standard error, want four records and a summary:\n%s", lines, got.Stderr)
	}
	var summary publishSummary
	if err := json.Unmarshal([]byte(got.Stdout), &summary); err != nil {
		t.Fatal(err)
	}
	if summary.publishCount != (publishCount{Events: 3, Receipts: 1, Bad: 4}) || !summary.Complete {
		t.Errorf("summary %+v", summary)
	}
	if msgs := stored(t, rooms); len(msgs) != 4 {
		t.Errorf("%d messages are stored, want 4", len(msgs))
	}
}

// All recorded events of a real homeserver are stored, those of each room in the order of the
// file.
func TestPublishKeepsTheOrderOfRooms(t *testing.T) {
	url, rooms := startStreams(t)
	file := fromRoot("testdata", "events.jsonl")
	if got := poked(t, "", "publish", "--nats", url, "--historical", file); got.Code != ExitOK {
		t.Fatalf("exit code %d: %s", got.Code, got.Stderr)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want, have [][]byte
	for line := range strings.Lines(string(content)) {
		want = append(want, []byte(strings.TrimSpace(line)))
	}
	for _, msg := range stored(t, rooms) {
		have = append(have, msg.Data)
		if msg.Header.Get(stream.HeaderHistorical) != "true" {
			t.Errorf("message %d is not marked as historical", msg.Sequence)
		}
	}
	if !maps.EqualFunc(byRoom(t, have), byRoom(t, want), slices.Equal) {
		t.Error("the stream differs from the file")
	}
}

// byRoom returns each room's event ids, in order.
func byRoom(t *testing.T, raws [][]byte) map[events.RoomID][]events.EventID {
	t.Helper()
	rooms := map[events.RoomID][]events.EventID{}
	for _, raw := range raws {
		ev, err := events.ParseRoomEvent(raw)
		if err != nil {
			t.Fatal(err)
		}
		rooms[ev.RoomID] = append(rooms[ev.RoomID], ev.EventID)
	}
	return rooms
}

// NATS restarts in the middle: nothing is lost, repeated or out of order.
func TestPublishOutlivesNATS(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	dir := t.TempDir()
	options := node.NATSOptions{Dir: dir, Listen: "127.0.0.1:0", Sync: node.FsyncFlag{Interval: time.Second}, Log: discardLog()}
	ns, err := node.StartNATS(options)
	if err != nil {
		t.Fatal(err)
	}
	options.Listen = ns.Where() // the same address after the restart
	url := "nats://" + options.Listen
	setUp(t, url)

	const total = 2000
	var lines strings.Builder
	for n := range total {
		lines.WriteString(message(fmt.Sprintf("room%d", n%10), n) + "\n")
	}
	done := make(chan clitest.Result, 1)
	go func() { done <- poked(t, lines.String(), "publish", "--nats", url, "--rate", "2000") }()
	waitForMessages(t, openStream(t, url, "ROOMS"), 100)
	ns.Stop()
	if ns, err = node.StartNATS(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Stop)
	if got := <-done; got.Code != ExitOK {
		t.Fatalf("exit code %d: %s", got.Code, got.Stderr)
	}
	var have [][]byte
	for _, msg := range stored(t, openStream(t, url, "ROOMS")) {
		have = append(have, msg.Data)
	}
	if len(have) != total {
		t.Errorf("%d messages are stored, want %d", len(have), total)
	}
	for room, ids := range byRoom(t, have) {
		for i, id := range ids {
			var number int
			if _, err := fmt.Sscanf(string(id[strings.IndexByte(string(id), '-')+1:]), "%d", &number); err != nil || number/10 != i {
				t.Fatalf("%s: event %d is %s (%v)", room, i, id, err)
			}
		}
	}
}

func setUp(t *testing.T, url string) {
	t.Helper()
	conn, err := stream.Connect(t.Context(), stream.Config{URL: url, Name: t.Name(), Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Setup(t.Context(), stream.Topology{Partitions: 2, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

func waitForMessages(t *testing.T, stream jetstream.Stream, want uint64) {
	t.Helper()
	eventstest.WaitFor(t, "messages", func() bool {
		info, err := stream.Info(t.Context())
		return err == nil && info.State.Msgs >= want
	})
}

func TestPublishNeedsPoked(t *testing.T) {
	_, url := startTestNATS(t)
	got := poked(t, message("a", 1), "publish", "--nats", url)
	if got.Code != ExitFailure || !strings.Contains(got.Stderr, "no poked serves this NATS") {
		t.Errorf("exit code %d, %q", got.Code, got.Stderr)
	}
}

func TestPublishNeedsItsFiles(t *testing.T) {
	got := poked(t, "", "publish", filepath.Join(t.TempDir(), "none"))
	if got.Code != ExitFailure || strings.Count(got.Stderr, "\n") != 1 {
		t.Errorf("exit code %d, %q", got.Code, got.Stderr)
	}
}

func TestPublishKeepsItsRate(t *testing.T) {
	url, _ := startStreams(t)
	var lines strings.Builder
	for n := range 30 {
		lines.WriteString(message("a", n) + "\n")
	}
	began := time.Now()
	if got := poked(t, lines.String(), "publish", "--nats", url, "--rate", "100"); got.Code != ExitOK {
		t.Fatalf("exit code %d: %s", got.Code, got.Stderr)
	}
	if took := time.Since(began); took < 290*time.Millisecond {
		t.Errorf("30 records at 100 a second took %s", took)
	}
}

// An interrupted run reports that it is incomplete.
func TestPublishInterrupted(t *testing.T) {
	url, _ := startStreams(t)
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr strings.Builder
	in := &interrupting{line: message("a", 1) + "\n", after: 3, interrupt: cancel}
	code := Poked().Run(ctx, []string{"publish", "--nats", url, "--json"}, in, &stdout, &stderr)
	if code != ExitFailure || !strings.Contains(stdout.String(), `"complete":false`) {
		t.Errorf("exit code %d, %q, %q", code, stdout.String(), stderr.String())
	}
}

// interrupting is an endless input that interrupts its reader.
type interrupting struct {
	line      string
	after     int // lines
	interrupt func()
}

func (r *interrupting) Read(p []byte) (int, error) {
	if r.after--; r.after < 0 {
		r.interrupt()
	}
	return copy(p, r.line), nil
}
