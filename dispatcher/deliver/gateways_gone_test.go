package deliver

import (
	"testing"

	"poked/dispatcher/poke"
)

// Nothing that is our own fault, and nothing that a gateway which is there does, counts as its absence.
func TestOnlyAbsenceRetires(t *testing.T) {
	gone := map[poke.Class]bool{
		poke.ClassDNS: true, poke.ClassRefused: true, poke.ClassReset: true, poke.ClassTimeout: true, poke.ClassNetwork: true,
		poke.ClassHTTP5xx: true, poke.ClassHTTP503: true,
	}
	for class := range poke.Classes {
		if got := isGone(poke.Outcome{Kind: poke.Retry, Class: class}); got != gone[class] {
			t.Errorf("%s: gone is %t", class, got)
		}
		for _, kind := range []poke.Kind{poke.Delivered, poke.Slow, poke.Rejected, poke.Refused} {
			if isGone(poke.Outcome{Kind: kind, Class: class}) {
				t.Errorf("%s with outcome %s counts as gone", class, kind)
			}
		}
	}
}
