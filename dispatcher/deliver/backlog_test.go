package deliver

import (
	"testing"
)

// A record that was being written when a badge became due does not speak of
// it, so the badge waits for the next.
func TestBadgeWaitsForARecordThatSpeaksOfIt(t *testing.T) {
	count, other := &item{seq: 2, badge: true}, &item{seq: 1}
	r := backlogRecord{held: []*item{count, other}}
	r.releaseCovered()
	if len(r.held) != 1 || r.held[0] != count || len(r.out) != 1 || r.out[0] != other {
		t.Errorf("held %v, let go %v", r.held, r.out)
	}
}
