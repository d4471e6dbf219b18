package events

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Barrier separates, in a partition of ROOMS, the events before a change of pushers or push
// rules from those after it: match goes on only once it knows both buckets as they were at
// these revisions. The registry publishes one in every partition after it has stored a change
// and before it answers the client, so an event that is published after the answer is matched
// with the change, however far the watch of the bucket lags behind ROOMS.
type Barrier struct {
	Pushers   uint64 `json:"pushers"`    // revision of PUSHERS
	PushRules uint64 `json:"push_rules"` // revision of PUSH_RULES
}

// barrierEnd ends the subject of a barrier, room.<token>.barrier.
const barrierEnd = "barrier"

// IsBarrier reports whether a subject, without room.<token> before it, is that of a barrier.
func IsBarrier(rest string) bool { return rest == barrierEnd }

// ParseBarrier parses a barrier. Errors wrap [ErrBadEvent].
func ParseBarrier(raw []byte) (Barrier, error) {
	var b Barrier
	if err := json.Unmarshal(raw, &b); err != nil {
		return Barrier{}, fmt.Errorf("%w: not a barrier", ErrBadEvent)
	}
	return b, nil
}

// BarrierSubjects returns the subjects on which a barrier is published, one for each
// partition. Their tokens are no room's, since a room id begins with "!".
func BarrierSubjects(partitions int) []string {
	subjects := make([]string, partitions)
	for n, found := 0, 0; found < partitions; n++ {
		token := Token(strconv.Itoa(n))
		if part := PartitionOf(token, partitions); subjects[part] == "" {
			subjects[part] = "room." + token + "." + barrierEnd
			found++
		}
	}
	return subjects
}
