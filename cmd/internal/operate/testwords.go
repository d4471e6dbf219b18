package operate

import (
	"fmt"
	"time"

	"poked/events"
)

// TestWords returns in a sentence how a test push went.
func TestWords(r *events.TestResult, now time.Time) string {
	why := Failure(r.Class)
	if r.HTTPStatus >= 300 {
		why = fmt.Sprintf("the gateway answers HTTP %d", r.HTTPStatus)
	}
	text := map[events.TestStatus]string{
		events.TestOK:            fmt.Sprintf("the gateway took the poke within %v", time.Duration(r.TookMS+1)*time.Millisecond),
		events.TestRejected:      "the gateway rejects the pushkey, and the pusher is removed",
		events.TestUnreachable:   "not delivered: " + why,
		events.TestRateLimited:   "not sent: the gateway asks for fewer requests",
		events.TestNotRegistered: "the dispatcher has no such pusher",
	}[r.Status]
	if r.Status == events.TestNotRegistered && r.Class == events.TestDisabled {
		text = "not sent: its client has disabled the pusher"
	}
	if !r.RetryAt.IsZero() {
		text += fmt.Sprintf(" (the next poke may go out %s)", Relative(r.RetryAt, now))
	}
	return text + "."
}
