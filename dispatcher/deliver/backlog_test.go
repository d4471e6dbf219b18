package deliver

import (
	"testing"
)

// A write that was in flight when a badge became due does not cover the badge: it stays held
// until the next write.
func TestBadgeWaitsForARecordThatSpeaksOfIt(t *testing.T) {
	count, other := &item{seq: 2, badge: true}, &item{seq: 1}
	r := backlogRecord{held: []*item{count, other}}
	r.releaseCovered()
	if len(r.held) != 1 || r.held[0] != count || len(r.out) != 1 || r.out[0] != other {
		t.Errorf("held %v, covered %v", r.held, r.out)
	}
}
