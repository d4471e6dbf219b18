package partition

import (
	"time"

	"poked/events"
)

// Message is one message of a followed partition.
type Message struct {
	Seq        uint64 // in its stream
	Subject    string
	Data       []byte
	Time       time.Time // when the stream stored it
	ID         string    // header Nats-Msg-Id
	Historical bool      // header Poked-Historical: true
	Superseded bool      // header Poked-Superseded: true
	// TraceParent is the header traceparent, or "".
	TraceParent events.TraceParent
	// Replayed reports that a worker may have handled the message before without
	// recording it.
	Replayed bool
	// Settled reports that a predecessor handled the message and recorded that: it is
	// received only to build up state ([Follower.Replay]), and needs no call of Done.
	Settled bool
	// Wrote reports that everything was stored that the message caused before it began to
	// wait for another message ([Follower.Wrote]).
	Wrote bool

	parts []byte // see [Position.Parts]
}

// DonePart reports whether a predecessor recorded that one of the message's users is done,
// by index ([Follower.DonePart]).
func (m *Message) DonePart(index int) bool {
	return index/8 < len(m.parts) && m.parts[index/8]&(1<<(index%8)) != 0
}

// Published returns the subject on which the message was published, which its stream
// may have changed.
func (m Message) Published() string { return events.PublishedAs(m.Subject) }

// Dead returns the dead letter of a message that no retry can help.
func (m Message) Dead(reason events.DeadReason, detail error) events.DeadLetter {
	return events.DeadLetter{
		Reason: reason, Detail: detail.Error(), At: time.Now(), Subject: m.Published(),
		Historical: m.Historical, Message: m.Data,
	}
}
