package events

import "time"

// TestPush asks the dispatcher that delivers to a pusher for a poke that is about no event
// (MSC4173).
type TestPush struct {
	UserID  UserID   `json:"user_id"`
	Pusher  PusherID `json:"pusher"`
	EventID EventID  `json:"event_id"` // what the gateway gets; see IsTestEvent
}

// TestStatus is how a test push went, in the words of MSC4173.
type TestStatus string

// The results of a test push.
const (
	TestOK            TestStatus = "ok"             // the gateway took it
	TestRejected      TestStatus = "rejected"       // the gateway rejects the pushkey: the pusher goes
	TestUnreachable   TestStatus = "unreachable"    // the gateway was not reached, failed, or may not be reached
	TestRateLimited   TestStatus = "rate_limited"   // the gateway asks for fewer requests, or for none until a time
	TestNotRegistered TestStatus = "not_registered" // the user has no such pusher, or it is not poked
)

// The classes of pushers that get no test push, as they get no poke.
const (
	TestDisabled = "disabled" // by its client (MSC3881)
	TestInactive = "inactive" // a browser that has not acknowledged that pushes reach it (MSC4174)
)

// Untested returns the result of a test push to a pusher that is not poked.
func Untested(p *Pusher) TestResult {
	if p.Inactive {
		return TestResult{Status: TestNotRegistered, Class: TestInactive}
	}
	return TestResult{Status: TestNotRegistered, Class: TestDisabled}
}

// TestResult is the result of a test push.
type TestResult struct {
	Status TestStatus `json:"status"`
	// Class is why it is not ok: a class of failure, as in logs and metrics, TestDisabled or
	// TestInactive.
	Class      string `json:"class,omitempty"`
	HTTPStatus int    `json:"http_status,omitempty"` // of the gateway's answer, 0 if there was none
	Gateway    string `json:"gateway,omitempty"`     // origin
	TookMS     int64  `json:"took_ms,omitempty"`     // until the gateway's answer, in milliseconds
	// RetryAt is when the next poke may go to the gateway, if none may now.
	RetryAt time.Time `json:"retry_at,omitzero"`
}

// maxTestEventChars bounds the id of a test push, after the "$".
const maxTestEventChars = 128

// IsTestEvent reports whether an id may be that of a test push: "$", and 1 to 128 letters,
// digits, "-" and "_", as MSC4173 advises.
func IsTestEvent(id EventID) bool {
	if len(id) < 2 || len(id) > maxTestEventChars+1 || id[0] != '$' {
		return false
	}
	for _, c := range []byte(id[1:]) {
		if letter := c|0x20 >= 'a' && c|0x20 <= 'z'; !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
