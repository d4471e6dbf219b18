package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"poked/events"
	"poked/events/bridge"
	"poked/events/eventstest"
	"poked/events/homeserver"
)

const testHSToken = "hs-token-of-the-test"

// writeRegistration writes a registration that the homeserver of a test knows.
func writeRegistration(t *testing.T) string {
	t.Helper()
	text, err := bridge.NewRegistration("example.org", "http://127.0.0.1:8009")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "as_token:"):
			line = "as_token: " + eventstest.ASToken + "\n"
		case strings.HasPrefix(line, "hs_token:"):
			line = "hs_token: " + testHSToken + "\n"
		}
		out.WriteString(line)
	}
	return writeFile(t, "registration.yaml", out.String())
}

// putTransaction sends a transaction and returns the status.
func putTransaction(ctx context.Context, url, id, body string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url+"/_matrix/app/v1/transactions/"+id, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+testHSToken)
	res, err := (&http.Client{}).Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// recordedTransaction is a line of testdata/transactions.jsonl.
type recordedTransaction struct {
	ID   string          `json:"txn_id"`
	Body json.RawMessage `json:"body"`
}

func readTransactions(t *testing.T, name string) []recordedTransaction {
	t.Helper()
	file, err := os.Open(filepath.Join("..", "..", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var list []recordedTransaction
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		var txn recordedTransaction
		if err := json.Unmarshal(scanner.Bytes(), &txn); err != nil {
			t.Fatal(err)
		}
		list = append(list, txn)
	}
	return list
}

// openBridge opens a bridge for recordings, whose events are old.
func openBridge(t *testing.T, conn *events.Conn) *httptest.Server {
	t.Helper()
	client, err := homeserver.New(eventstest.StartHomeserver(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	reg, err := homeserver.ReadRegistration(writeRegistration(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg := bridge.Config{HTTP: "127.0.0.1:0", Late: 100 * 365 * 24 * time.Hour}
	b, err := bridge.Open(t.Context(), cfg, client, reg, conn, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(b.Handler(t.Context()))
	t.Cleanup(func() { web.Close(); _ = b.Close(); client.Close() })
	return web
}

// What a real homeserver sent to its application service causes the pokes that
// publishing its events causes: with every fifth transaction sent twice, too. The
// recording lacks redactions and some receipts, which are published afterwards: in
// the end they leave the same unread.
func TestReplayedTransactionsCauseTheSamePokes(t *testing.T) {
	rec, err := readRecording(testdataFiles())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	std := streams{in: strings.NewReader(""), out: &out, err: &out}
	s := newStory(rec, (&demoCmd{Quiet: true}).screen(std, len(rec.owed)), rate.NewLimiter(rate.Inf, 0), demoPatience)
	transactions := readTransactions(t, "transactions.jsonl")
	s.publishAll = func(ctx context.Context, conn *events.Conn) error {
		web := openBridge(t, conn)
		for i, txn := range transactions {
			for range 1 + i%5/4 {
				if status, err := putTransaction(ctx, web.URL, txn.ID, string(txn.Body)); err != nil || status != http.StatusOK {
					return fmt.Errorf("transaction %d: %d, %w", i, status, err)
				}
			}
		}
		return publishUnsent(ctx, events.NewPublisher(conn), rec)
	}
	if err := s.perform(t.Context(), std); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if want := "each badge is right in the end"; !strings.Contains(out.String(), want) {
		t.Errorf("%s", &out)
	}
}

// publishUnsent publishes what a recording has and its transactions lack.
func publishUnsent(ctx context.Context, publisher *events.Publisher, rec *recording) error {
	for _, ev := range rec.events {
		if bytes.Contains(ev.raw, []byte(`"m.room.redaction"`)) {
			if err := publisher.Event(ctx, ev.raw); err != nil {
				return err
			}
		}
		for _, receipt := range ev.receipts {
			if err := publisher.Receipt(ctx, receipt); err != nil {
				return err
			}
		}
	}
	return nil
}

// A real homeserver that was answered 500 twice sent the same transaction again, with
// more events each time.
func TestReplayedRetryIsStoredOnce(t *testing.T) {
	url, rooms := startStreams(t)
	conn, err := events.Connect(t.Context(), events.Config{URL: url, Log: discardLog()})
	if err == nil {
		err = conn.Join(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	web := openBridge(t, conn)
	want := map[string]bool{}
	for _, txn := range readTransactions(t, "transactions_retry.jsonl") {
		if status, err := putTransaction(t.Context(), web.URL, txn.ID, string(txn.Body)); err != nil || status != http.StatusOK {
			t.Fatalf("%d, %v", status, err)
		}
		var body struct {
			Events []struct {
				ID string `json:"event_id"`
			} `json:"events"`
		}
		if err := json.Unmarshal(txn.Body, &body); err != nil {
			t.Fatal(err)
		}
		for _, ev := range body.Events {
			want[ev.ID] = true
		}
	}
	if n := len(stored(t, rooms)); n != len(want) || n != 6 {
		t.Errorf("%d events are stored, %d were sent", n, len(want))
	}
}
