package events

import "strings"

// TraceParent is the place of something in a trace: a traceparent of W3C Trace Context
// (https://www.w3.org/TR/trace-context/), version 00, that [ParseTraceParent] has accepted. ""
// is no trace.
type TraceParent string

// HeaderTraceParent is the header of a room event in NATS, of a homeserver's transaction and of a
// poke that carries a traceparent. Case does not matter.
const HeaderTraceParent = "traceparent"

// The lengths of a traceparent of version 00, and where its parts begin:
//
//	00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
const (
	traceParentLen = 55
	traceIDAt      = 3
	spanIDAt       = 36
	flagsAt        = 53
)

// ParseTraceParent returns a traceparent in the form of version 00, or "" if text is none:
// the standard demands that what cannot be read is ignored. Of a later version the parts that
// version 00 has are kept.
func ParseTraceParent(text string) TraceParent {
	if len(text) < traceParentLen || text[2] != '-' || text[spanIDAt-1] != '-' || text[flagsAt-1] != '-' ||
		len(text) > traceParentLen && (strings.HasPrefix(text, "00") || text[traceParentLen] != '-') {
		return ""
	}
	version, trace, span, flags := text[:2], text[traceIDAt:spanIDAt-1], text[spanIDAt:flagsAt-1], text[flagsAt:traceParentLen]
	if !isLowerHex(version) || version == "ff" || !isLowerHex(flags) || !isTraceID(trace) || !isTraceID(span) {
		return ""
	}
	return TraceParent("00" + text[2:traceParentLen])
}

// isTraceID reports whether text is an id of a trace or a span: hexadecimal, and not only zeros.
func isTraceID(text string) bool { return isLowerHex(text) && strings.Trim(text, "0") != "" }

func isLowerHex(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
