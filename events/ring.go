package events

import (
	"math"
	"time"

	"github.com/tidwall/gjson"
)

const (
	// longestRing bounds how long a call rings, whatever its event claims: the cap of MSC4075.
	longestRing = 2 * time.Minute
	// ringClockSkew is how far sender_ts may be from origin_server_ts to count.
	ringClockSkew = 20 * time.Second
)

// RingsUntil returns until when an event that arrived at a time makes a phone ring: its "lifetime"
// in milliseconds, from sender_ts, from origin_server_ts if these differ by more than 20 s, or from
// its arrival if there is neither; and never for longer than two minutes from its arrival. Without
// a lifetime that can be used it is those two minutes. It returns the zero time for an event that
// does not ring. See MSC4075 (m.rtc.invite, and m.rtc.notification and m.call.notify before it)
// and m.call.invite of the specification, whose lifetime begins with the age of the event. The type of an
// encrypted event is not known, so it never rings.
func (e *RoomEvent) RingsUntil(arrival time.Time) time.Time {
	if e.IsState {
		return time.Time{}
	}
	var from time.Time
	switch e.Type {
	case "m.call.invite":
		age, _ := e.AgeAt(arrival)
		from = arrival.Add(-max(age, 0))
	case "m.rtc.invite", "m.rtc.notification", "org.matrix.msc4075.rtc.notification", "m.call.notify", "org.matrix.msc4075.call.notify":
		from = e.ringsFrom(arrival)
	default:
		return time.Time{}
	}
	latest := arrival.Add(longestRing)
	lifetime := gjson.GetBytes(e.Content, "lifetime")
	if lifetime.Type != gjson.Number || lifetime.Num < 0 || lifetime.Num > float64(longestRing.Milliseconds()) {
		lifetime.Num = float64(longestRing.Milliseconds())
	}
	if until := from.Add(time.Duration(lifetime.Num) * time.Millisecond); until.Before(latest) {
		return until
	}
	return latest
}

// ringsFrom returns from when the lifetime of a call counts.
func (e *RoomEvent) ringsFrom(arrival time.Time) time.Time {
	from := arrival
	if e.OriginServerTS > 0 {
		from = time.UnixMilli(e.OriginServerTS)
	}
	sent := gjson.GetBytes(e.Content, "sender_ts")
	if sent.Type == gjson.Number && math.Abs(sent.Num-float64(from.UnixMilli())) <= float64(ringClockSkew.Milliseconds()) {
		return time.UnixMilli(int64(sent.Num))
	}
	return from
}

// Rings reports whether the event makes a phone ring, for as long as a call takes to be answered.
func (a *About) Rings() bool { return a.RingsUntil != 0 }

// IsOver reports whether the event was to make a phone ring, and the call is over.
func (a *About) IsOver(now time.Time) bool { return a.Rings() && now.UnixMilli() >= a.RingsUntil }
