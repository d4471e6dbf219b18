package natstest

import "time"

// Fault is a fault that one message meets on its way to the server.
type Fault uint8

// The faults. In all but the first the client cannot know what was stored.
const (
	Refuse       Fault = iota + 1 // not stored, and the answer is an error
	Lose                          // not stored: the connection breaks before
	LoseAnswer                    // stored, but the connection breaks before the answer
	Kill                          // stored, and the link is cut for ever
	LoseSilently                  // stored, but the answer is lost; the connection stays
	Late                          // stored a little later than what is sent after it
)

// lateness is how much later a message is that meets the fault [Late].
const lateness = 100 * time.Millisecond

// Faults returns the faults that break the connection, end the process or refuse the
// message, by their names in tests.
func Faults() map[string]Fault {
	return map[string]Fault{
		"refused":                         Refuse,
		"lost":                            Lose,
		"happened but reported as failed": LoseAnswer,
		"killed right after":              Kill,
	}
}
