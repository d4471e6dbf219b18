package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"poked/cmd/internal/terminal"
	"poked/events/bridge"
	"poked/events/eventstest"
	"poked/events/homeserver"
	"poked/events/natstest"
	"poked/events/publish"
	"poked/events/stream"
)

// recordedTransaction is a line of testdata/transactions.jsonl.
type recordedTransaction struct {
	ID   string          `json:"txn_id"`
	Body json.RawMessage `json:"body"`
}

func readTransactions(t *testing.T, name string) []recordedTransaction {
	t.Helper()
	file, err := os.Open(filepath.Join("..", "..", "..", "testdata", name))
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

// openBridge opens a bridge that accepts the old events of a recording.
func openBridge(t *testing.T, conn *stream.Conn) *httptest.Server {
	t.Helper()
	client, err := homeserver.New(eventstest.StartHomeserver(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	text, err := bridge.NewRegistration("example.org", "http://127.0.0.1:8721")
	if err != nil {
		t.Fatal(err)
	}
	reg, err := homeserver.ReadRegistration(eventstest.WriteRegistration(t, text))
	if err != nil {
		t.Fatal(err)
	}
	cfg := bridge.Config{HTTP: "127.0.0.1:0", Late: 100 * 365 * 24 * time.Hour}
	b, err := bridge.Open(t.Context(), cfg, client, reg, conn, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(b.Handler(t.Context()))
	t.Cleanup(func() { web.Close(); _ = b.Close(); client.Close() })
	return web
}

// Transactions recorded from a real homeserver cause the same pokes as publishing the events,
// even if every fifth transaction is sent twice. The transactions lack redactions and some
// receipts, which are published afterwards, so that the same events stay unread.
func TestReplayedTransactionsCauseTheSamePokes(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	rec, err := readRecording(testdataFiles())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	std := terminal.Streams{In: strings.NewReader(""), Out: &out, Err: &out}
	s := newPlayer(rec, (&Cmd{}).screen(std, len(rec.expected)), rate.NewLimiter(rate.Inf, 0), patience)
	transactions := readTransactions(t, "transactions.jsonl")
	s.publishAll = func(ctx context.Context, conn *stream.Conn) error {
		web := openBridge(t, conn)
		for i, txn := range transactions {
			for range 1 + i%5/4 {
				if status, err := eventstest.PutTransaction(ctx, web.URL, txn.ID, string(txn.Body)); err != nil || status != http.StatusOK {
					return fmt.Errorf("transaction %d: %d, %w", i, status, err)
				}
			}
		}
		return publishUnsent(ctx, publish.NewPublisher(conn), rec)
	}
	if err := s.run(t.Context(), std); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	tally := s.check.tally
	if want := fmt.Sprintf("once, in order and with the right content:\n%d of 12707, %d were read first; the last badge of each pusher is right",
		tally.Arrived, tally.Read); !strings.Contains(out.String(), want) || tally.Badges == 0 {
		t.Errorf("%s", &out)
	}
}

// publishUnsent publishes what the transactions of a recording lack.
func publishUnsent(ctx context.Context, publisher *publish.Publisher, rec *recording) error {
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

// After a response of 500 a real homeserver sends the same transaction again, each time with
// more events.
func TestReplayedRetryIsStoredOnce(t *testing.T) {
	server := natstest.StartServer(t)
	conn := server.Connect(natstest.Topology())
	web := openBridge(t, conn)
	want := map[string]bool{}
	for _, txn := range readTransactions(t, "transactions_retry.jsonl") {
		if status, err := eventstest.PutTransaction(t.Context(), web.URL, txn.ID, string(txn.Body)); err != nil || status != http.StatusOK {
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
	if n := len(server.Stored("ROOMS", "")); n != len(want) || n != 6 {
		t.Errorf("%d events are stored, %d were sent", n, len(want))
	}
}
