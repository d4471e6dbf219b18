package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"poked/events/eventstest"
	"poked/events/publish"
	"poked/events/stream"
)

// traceReceiver receives traces by OTLP over HTTP.
type traceReceiver struct {
	*httptest.Server
	mu       sync.Mutex
	spans    []*spans.Span
	services map[string]bool
}

func startTraceReceiver(t *testing.T) *traceReceiver {
	r := &traceReceiver{services: map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var batch collector.ExportTraceServiceRequest
		if err != nil || req.URL.Path != "/v1/traces" || proto.Unmarshal(body, &batch) != nil {
			t.Errorf("%s: no traces", req.URL.Path)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, of := range batch.ResourceSpans {
			for _, attribute := range of.Resource.Attributes {
				if attribute.Key == "service.name" {
					r.services[attribute.Value.GetStringValue()] = true
				}
			}
			for _, scope := range of.ScopeSpans {
				r.spans = append(r.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

// of returns the spans of a trace, by name.
func (r *traceReceiver) of(trace string) map[string]*spans.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	byName := map[string]*spans.Span{}
	for _, span := range r.spans {
		if hex.EncodeToString(span.TraceId) == trace {
			byName[span.Name] = span
		}
	}
	return byName
}

// A trace that a publisher began goes on in poked, and to the gateway: its spans arrive at a
// receiver that only the standard environment variables name.
func TestTracesAreExported(t *testing.T) {
	eventstest.Long(t)
	const trace, publisher = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	receiver := startTraceReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	t.Setenv("OTEL_SERVICE_NAME", "the pokes")
	headers, pokes := make(chan string, 100), make(chan poke, 1)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if traceparent := r.Header.Get("Traceparent"); strings.Contains(traceparent, trace) {
			headers <- traceparent
		}
		select {
		case pokes <- poke{}:
		default:
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer gateway.Close()
	d := startServe(t, writeFile(t, "tokens", "alice-token @alice:example.org PHONE\n"))
	setPusher(t, d.http, gateway.URL+"/_matrix/push/v1/notify", "alice-pushkey")
	publishAll(t, d.nats, "--historical", memberEvent("alice"), memberEvent("bob"))
	firstPoke(t, d.nats, pokes) // the dispatcher may not know the pusher at once
	conn, err := stream.Connect(t.Context(), stream.Config{URL: d.nats, Name: "homeserver", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := publish.NewPublisher(conn).Event(t.Context(), []byte(message("room", 1000)), publish.Traced("00-"+trace+"-"+publisher+"-01")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), eventstest.Patience)
	defer cancel()
	var header string
	select {
	case header = <-headers:
	case <-ctx.Done():
		t.Fatal("no poke")
	}
	var got map[string]*spans.Span
	eventstest.WaitFor(t, "the spans", func() bool { got = receiver.of(trace); return len(got) == 3 })
	match, wait, attempt := got["match"], got["wait"], got["attempt"]
	if match == nil || wait == nil || attempt == nil {
		t.Fatalf("spans: %v", got)
	}
	if hex.EncodeToString(match.ParentSpanId) != publisher {
		t.Errorf("match is a child of %x", match.ParentSpanId)
	}
	if !bytes.Equal(wait.ParentSpanId, match.SpanId) || !bytes.Equal(attempt.ParentSpanId, match.SpanId) {
		t.Error("the poke's spans are no children of match")
	}
	if want := "00-" + trace + "-" + hex.EncodeToString(attempt.SpanId) + "-01"; header != want {
		t.Errorf("the gateway got %q, want %q", header, want)
	}
	if wait.EndTimeUnixNano > attempt.EndTimeUnixNano || wait.StartTimeUnixNano > wait.EndTimeUnixNano {
		t.Error("the spans are out of order")
	}
	if text := attempt.String(); strings.Contains(text, "alice-pushkey") || strings.Contains(text, "hello") {
		t.Errorf("a span tells a secret: %s", text)
	}
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	if !receiver.services["the pokes"] || len(receiver.services) != 1 {
		t.Errorf("the service is called %v", receiver.services)
	}
}
