package events

import "time"

// ProcessState is what a running process of poked reports to operators about itself.
type ProcessState struct {
	ID      string    `json:"id"` // another one after each start
	Roles   []string  `json:"roles"`
	Worker  string    `json:"worker,omitempty"` // the name of its dispatcher, if it has one
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Began   time.Time `json:"began"`
	// Unready has why it is not ready, one reason each; it is empty if it does all of its
	// work.
	Unready []string `json:"unready,omitempty"`
}

// DispatcherState is what a dispatcher reports to operators about its work as a whole.
// Everything that it counts is counted since it began.
type DispatcherState struct {
	Worker        string `json:"worker"`        // its name, as its log has it
	RoomEvents    uint64 `json:"room_events"`   // that were matched
	Notifications uint64 `json:"notifications"` // that were stored
	Delivered     uint64 `json:"delivered"`     // pokes that a gateway took
	Failed        uint64 `json:"failed"`        // tries that a gateway did not take
	Dead          uint64 `json:"dead"`          // pokes that became dead letters
	PutAside      uint64 `json:"put_aside"`     // of those, the ones that an operator skipped
	Unreadable    uint64 `json:"unreadable"`    // messages that became dead letters
	Lagging       int64  `json:"lagging"`       // pushers that lag now
	// Limited reports that messages or pokes are late because of the dispatcher itself, its
	// slots or its NATS: more is to be done than it can. No gateway is the cause.
	Limited bool `json:"limited"`
	// OwnDelayMS is how late the process runs what is due because its CPU is short, in
	// milliseconds: the longest delay of the last seconds.
	OwnDelayMS float64 `json:"own_delay_ms"`
	// OldestDue is when the oldest undelivered notification was stored; zero if there is none.
	OldestDue time.Time        `json:"oldest_due,omitzero"`
	Owned     []OwnedPartition `json:"owned"`
}

// OwnedPartition is one stage of a partition that a dispatcher works on.
type OwnedPartition struct {
	Stage   string `json:"stage"`
	Part    int    `json:"part"`
	Waiting uint64 `json:"waiting"` // messages of the stream that it has not received yet
	Open    int    `json:"open"`    // messages that it has received and not finished
	// BehindMS is how old the newest received message was when it arrived, in milliseconds,
	// if more waited for it.
	BehindMS int64  `json:"behind_ms,omitempty"`
	Trouble  string `json:"trouble,omitempty"` // why there is no progress although there is work
}
