// Package spans records what a dispatcher does with an event as spans of a trace
// (OpenTelemetry):
//
//	publisher's span, or none
//	 └─ match      from when a dispatcher takes the event to when its notifications are stored
//	     ├─ wait     of each poke: from when the event was stored to when the attempt begins
//	     └─ attempt  of each poke: the request to the push gateway
//
// What stands in the log with an event, and in the header traceparent of each poke, is a part of
// that trace. A nil [Recorder] records nothing and costs nothing: the publisher's traceparent
// passes through unchanged.
package spans

import (
	"context"
	"encoding/hex"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"poked/events"
)

// Recorder records spans.
type Recorder struct{ tracer trace.Tracer }

// New returns a recorder that records with a tracer.
func New(tracer trace.Tracer) *Recorder { return &Recorder{tracer: tracer} }

// Span is a span that has begun, or none. The zero value is none.
type Span struct{ span trace.Span }

// Match begins the span of an event that is matched.
func (r *Recorder) Match(parent events.TraceParent, ev *events.RoomEvent) Span {
	if r == nil {
		return Span{}
	}
	_, span := r.tracer.Start(within(parent), "match", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("room_id", string(ev.RoomID)), attribute.String("event_id", string(ev.EventID)), attribute.String("type", ev.Type)))
	return Span{span}
}

// Poke is what the spans of a poke tell of it. Nothing in it is a secret.
type Poke struct {
	Parent  events.TraceParent // of the notification
	Stored  time.Time          // when the event was stored
	Attempt int
	UserID  events.UserID
	RoomID  events.RoomID
	EventID events.EventID
	AppID   string
	Pusher  events.PusherID
	Gateway string // origin
}

// Attempt records how long a poke has waited, and begins the span of its request.
func (r *Recorder) Attempt(p *Poke, began time.Time) Span {
	if r == nil {
		return Span{}
	}
	parent := within(p.Parent)
	about := trace.WithAttributes(
		attribute.String("user_id", string(p.UserID)), attribute.String("room_id", string(p.RoomID)), attribute.String("event_id", string(p.EventID)),
		attribute.String("app_id", p.AppID), attribute.String("pusher", string(p.Pusher)), attribute.String("gateway", p.Gateway),
		attribute.Int("attempt", p.Attempt))
	_, waited := r.tracer.Start(parent, "wait", trace.WithTimestamp(p.Stored), about)
	if p.Parent == "" { // else both would be a trace of their own
		parent = trace.ContextWithSpanContext(parent, waited.SpanContext())
	}
	waited.End(trace.WithTimestamp(began))
	_, span := r.tracer.Start(parent, "attempt", trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(began), about)
	return Span{span}
}

// TraceParent returns the place of the span in its trace, or else if there is no span.
func (s Span) TraceParent(otherwise events.TraceParent) events.TraceParent {
	if s.span == nil {
		return otherwise
	}
	at := s.span.SpanContext()
	return events.ParseTraceParent("00-" + at.TraceID().String() + "-" + at.SpanID().String() + "-" + at.TraceFlags().String())
}

// End ends the span of an event that is matched, perhaps with an error.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End()
}

// Answered ends the span of a request that has an outcome of a class, and an HTTP status or 0.
func (s Span) Answered(outcome, class string, status int, well bool) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(attribute.String("outcome", outcome), attribute.String("class", class))
	if status != 0 {
		s.span.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	if !well {
		s.span.SetStatus(codes.Error, class)
	}
	s.span.End()
}

// within returns a context in which new spans are children of a traceparent.
func within(parent events.TraceParent) context.Context {
	var cfg trace.SpanContextConfig
	if parent == "" {
		return context.Background()
	}
	// A traceparent is checked when it is parsed, so nothing here fails.
	_, _ = hex.Decode(cfg.TraceID[:], []byte(parent[3:35]))
	_, _ = hex.Decode(cfg.SpanID[:], []byte(parent[36:52]))
	var flags [1]byte
	_, _ = hex.Decode(flags[:], []byte(parent[53:55]))
	cfg.TraceFlags, cfg.Remote = trace.TraceFlags(flags[0]), true
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(cfg))
}
