package dispatchertest

import (
	"fmt"
	"strings"
	"time"

	"poked/events"
)

// ManyParts is the number of partitions in tests of several dispatchers.
const ManyParts = 8

// Owned returns how many partitions each of some dispatchers works on.
func Owned(instances ...*Instance) (n []int64) {
	for _, l := range instances {
		n = append(n, l.Dispatcher.Stats().Partitions)
	}
	return n
}

// Shared waits until dispatchers share all partitions evenly.
func (h *Harness) Shared(limit time.Duration, instances ...*Instance) {
	h.T.Helper()
	began := time.Now()
	for {
		total, even := int64(0), true
		for _, n := range Owned(instances...) {
			total += n
			even = even && n >= int64(ManyParts/len(instances)) && n <= int64((ManyParts+len(instances)-1)/len(instances))
		}
		if even && total == ManyParts {
			h.T.Logf("%d share after %v", len(instances), time.Since(began))
			return
		}
		if time.Since(began) > limit {
			h.T.Fatalf("after %v partitions are shared like this: %v", limit, Owned(instances...))
		}
		<-time.After(5 * time.Millisecond)
	}
}

// SayEvery publishes n messages by alice in !r, numbered from first, one in each interval. It
// returns the next number.
func (h *Harness) SayEvery(first, n int, every time.Duration) int {
	h.T.Helper()
	for i := range n {
		h.Say("!r", "@alice:x", first+i, 1)
		<-time.After(every)
	}
	return first + n
}

// Audience registers n users with a pusher each, at gw.test.
func (h *Harness) Audience(n int) []events.UserID {
	h.T.Helper()
	return h.RegisterMany(n, "gw.test", "u")
}

// PushkeyOf returns the pushkey of one of an audience.
func PushkeyOf(user events.UserID) string {
	return strings.TrimSuffix(strings.TrimPrefix(string(user), "@"), ":x")
}

// CheckAll is check for users with a pusher each.
func (h *Harness) CheckAll(users []events.UserID, repeats int) {
	h.T.Helper()
	e := h.Results()
	for _, user := range users {
		h.CheckResults(e, user, repeats, PushkeyOf(user))
	}
}

// SamePartition returns two users of one partition.
func SamePartition(partitions int) (one, other events.UserID) {
	one = "@one:x"
	for i := 0; ; i++ {
		other = events.UserID(fmt.Sprintf("@other%d:x", i))
		if events.PartitionOf(events.Token(one), partitions) == events.PartitionOf(events.Token(other), partitions) {
			return one, other
		}
	}
}
