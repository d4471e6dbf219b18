package spans

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"poked/events"
)

const parent = events.TraceParent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

func poke(of events.TraceParent) *Poke {
	return &Poke{Parent: of, Stored: time.Unix(100, 0), UserID: "@a:x", Gateway: "https://g:443", Attempt: 1}
}

// Without a recorder spans cost nothing, and a traceparent passes through.
func TestOffCostsNothing(t *testing.T) {
	var r *Recorder
	ev, p := &events.RoomEvent{RoomID: "!r", EventID: "$e"}, poke(parent)
	if n := testing.AllocsPerRun(100, func() { once(r, ev, p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := r.Match(parent, ev).TraceParent(parent); got != parent {
		t.Errorf("the traceparent became %q", got)
	}
}

func once(r *Recorder, ev *events.RoomEvent, p *Poke) {
	matched := r.Match(p.Parent, ev)
	_ = matched.TraceParent(p.Parent)
	matched.End(nil)
	span := r.Attempt(p, time.Time{})
	_ = span.TraceParent(p.Parent)
	span.Answered("delivered", "ok", 200, true)
}

// Spans are children of the publisher's, and of match's; with no publisher's they are a trace of
// their own.
func TestSpansAreOneTrace(t *testing.T) {
	for _, from := range []events.TraceParent{parent, ""} {
		recorded := tracetest.NewSpanRecorder()
		r := New(trace.NewTracerProvider(trace.WithSpanProcessor(recorded)).Tracer("test"))
		matched := r.Match(from, &events.RoomEvent{})
		in := matched.TraceParent(from)
		matched.End(nil)
		request := r.Attempt(poke(in), time.Unix(200, 0))
		header := request.TraceParent(in)
		request.Answered("retry", "http_5xx", 502, false)
		ended := recorded.Ended()
		if len(ended) != 3 || ended[0].Name() != "match" || ended[1].Name() != "wait" || ended[2].Name() != "attempt" {
			t.Fatalf("spans: %v", ended)
		}
		for i, span := range ended {
			if span.SpanContext().TraceID() != ended[0].SpanContext().TraceID() {
				t.Errorf("%s is of another trace", span.Name())
			}
			if i > 0 && span.Parent().SpanID() != ended[0].SpanContext().SpanID() {
				t.Errorf("%s is no child of match", span.Name())
			}
		}
		if from != "" && ended[0].Parent().SpanID().String() != string(from[36:52]) {
			t.Errorf("match is a child of %s", ended[0].Parent().SpanID())
		}
		if want := "00-" + ended[0].SpanContext().TraceID().String() + "-" + ended[2].SpanContext().SpanID().String() + "-01"; string(header) != want {
			t.Errorf("the gateway gets %q, want %q", header, want)
		}
		if wait := ended[1]; !wait.StartTime().Equal(time.Unix(100, 0)) || !wait.EndTime().Equal(time.Unix(200, 0)) {
			t.Errorf("it waited from %s to %s", wait.StartTime(), wait.EndTime())
		}
	}
}

// What a dispatcher does for each event and poke while traces are off.
func BenchmarkOff(b *testing.B) {
	b.ReportAllocs()
	ev, p := &events.RoomEvent{}, poke(parent)
	for b.Loop() {
		once(nil, ev, p)
	}
}

// BenchmarkOn is the same with a tracer whose spans nobody exports.
func BenchmarkOn(b *testing.B) {
	b.ReportAllocs()
	r := New(trace.NewTracerProvider().Tracer("bench"))
	ev, p := &events.RoomEvent{}, poke(parent)
	for b.Loop() {
		once(r, ev, p)
	}
}
