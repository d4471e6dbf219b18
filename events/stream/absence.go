package stream

import (
	"context"
	"encoding/json"
	"time"

	"poked/events"
)

const absences = "gone." // the origin's token follows

func absenceKey(a events.Absence) string { return absences + events.Token(a.Origin) }

// PutAbsence stores for how long a gateway has been gone, unless the bucket has a value that is newer
// than base, from which this one was counted: then the other one arrives by [Conn.WatchAbsences].
// That it works again replaces any value. done is called once when either is so, or with an error.
func (c *Conn) PutAbsence(a events.Absence, base time.Time, done func(error)) {
	c.putGateway(absenceKey(a), a, func(found string) bool {
		var other events.Absence
		return a.Gone > 0 && json.Unmarshal([]byte(found), &other) == nil && other.At.After(base)
	}, done)
}

// WatchAbsences calls apply with each known absence, then ready once, then apply with each new one.
// It returns as [Conn.WatchPushRules] does.
func (c *Conn) WatchAbsences(ctx context.Context, apply func(events.Absence), ready func()) error {
	return watchGateways(ctx, c, absences, absenceKey, func(a events.Absence) {
		a.Gone = max(a.Gone, 0) // never negative as it is written
		apply(a)
	}, ready)
}
