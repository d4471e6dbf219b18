package eventstest

// Fault is what happens to one message on its way to the server.
type Fault uint8

// The faults. In all but the first the client cannot know what was stored.
const (
	Refuse       Fault = iota + 1 // it is not stored, and the answer says so
	Lose                          // the connection breaks before it
	LoseAnswer                    // it is stored, and the connection breaks before the answer
	Kill                          // it is stored, and nothing passes any more
	LoseSilently                  // it is stored, and the answer does not come; the connection stays
)

// Faults returns the faults that break the connection, end the process or refuse the
// message, by the names that tests use.
func Faults() map[string]Fault {
	return map[string]Fault{
		"refused":                         Refuse,
		"lost":                            Lose,
		"happened but reported as failed": LoseAnswer,
		"killed right after":              Kill,
	}
}
