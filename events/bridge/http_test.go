package bridge_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"poked/events/eventstest"
)

// The text after the header of a request whose body never arrives. With the first, the
// server's 100 answer shows when it reads the body.
const (
	expecting = "Expect: 100-continue\r\n\r\n"
	beginning = "\r\n{"
)

// halfATransaction sends the header of a transaction, followed by rest.
func halfATransaction(t *testing.T, addr, token, rest string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\n%s", txn, token, rest); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A transaction whose body never arrives delays no other.
func TestAStalledBodyDelaysNoOther(t *testing.T) {
	h := newHouse(t)
	conn := halfATransaction(t, strings.TrimPrefix(h.web.URL, "http://"), hsToken, expecting)
	goOn := make([]byte, len("HTTP/1.1 100 Continue\r\n"))
	if _, err := io.ReadFull(conn, goOn); err != nil || !strings.Contains(string(goOn), "100") { // the bridge is reading the body
		t.Fatalf("%q, %v", goOn, err)
	}
	began := time.Now()
	h.put(create(), message("$1"))
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("waited for %s", took)
	}
	h.want("beside it", "$create $1")
}

// The bridge does not wait for the body of a refused request. The test uses the
// bridge's own port, with its deadlines.
func TestARefusedBodyEnds(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.bridge.Run(ctx) }()
	began := time.Now()
	conn := halfATransaction(t, h.bridge.Addr(), "hs-token-of-a-stranger", beginning)
	answer, err := io.ReadAll(conn)
	if took := time.Since(began); took > 30*time.Second || err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 403") {
		t.Errorf("after %s: %q, %v", took, answer, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A request above the limit of concurrent transactions is refused; a request whose
// sender disconnects frees its place.
func TestTransactionsAtOnce(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	addr := strings.TrimPrefix(h.web.URL, "http://")
	var stalled []net.Conn
	for range 8 { // the limit
		conn := halfATransaction(t, addr, hsToken, expecting)
		if _, err := io.ReadFull(conn, make([]byte, 12)); err != nil {
			t.Fatal(err)
		}
		stalled = append(stalled, conn)
	}
	done := make(chan int, 1)
	go func() {
		status, _ := h.request(http.MethodPut, txn, hsToken, transaction(create()))
		done <- status
	}()
	_ = stalled[3].Close()
	if status := <-done; status != http.StatusOK {
		t.Errorf("in a place that was freed: %d", status)
	}
}

// A request with two different tokens is refused, even if one of them is valid.
func TestTwoTokens(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		headers []string
		query   string
		status  int
	}{
		{[]string{"Bearer " + hsToken, "Bearer x"}, "", 400},
		{[]string{"Bearer x", "Bearer " + hsToken}, "", 400},
		{[]string{"Bearer x"}, "?access_token=" + hsToken, 400},
		{[]string{"Bearer " + hsToken}, "?access_token=x", 400},
		{nil, "?access_token=x&access_token=" + hsToken, 400},
		{[]string{"Bearer " + hsToken}, "?access_token=" + hsToken, 200}, // as some servers send it
		{nil, "?access_token=" + hsToken, 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, h.web.URL+txn+c.query, strings.NewReader(transaction()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header["Authorization"] = c.headers
		res, err := h.web.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%q%s: %d, want %d", c.headers, c.query, res.StatusCode, c.status)
		}
	}
}

// The events of a transaction are a part of the homeserver's trace. What is no traceparent is
// ignored, and refuses no event.
func TestTransactionInATrace(t *testing.T) {
	h := newHouse(t)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for i, header := range []string{parent, "nonsense", ""} {
		body := transaction(message(fmt.Sprint("$", i)))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, fmt.Sprint(h.web.URL, txn, i), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+hsToken)
		req.Header.Set("Traceparent", header)
		answer, err := h.web.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%q: %s", header, answer.Status)
		}
	}
	traced := 0
	for _, msg := range h.nats.Stored("ROOMS", "") {
		want := ""
		if strings.Contains(string(msg.Data), `"$0"`) {
			want, traced = parent, traced+1
		}
		if string(msg.TraceParent) != want {
			t.Errorf("%s: traceparent %q, want %q", msg.Data, msg.TraceParent, want)
		}
	}
	if traced != 1 {
		t.Errorf("%d events in the trace", traced)
	}
}
