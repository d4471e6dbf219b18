package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// LogMark is a place in the log: a sequence of each stream of NOTIFICATIONS, in the order of
// their numbers. The nil mark is before everything.
type LogMark []uint64

// IsZero reports whether everything in the log is after the mark.
func (m LogMark) IsZero() bool {
	for _, seq := range m {
		if seq > 0 {
			return false
		}
	}
	return true
}

// Lower lowers the mark to another where that is before it.
func (m LogMark) Lower(to LogMark) {
	for i := range m {
		m[i] = min(m[i], to.At(i))
	}
}

// IsBeyond reports whether there are more than this many messages from another mark to this
// one in any stream.
func (m LogMark) IsBeyond(other LogMark, messages uint64) bool {
	for i := range m {
		if m[i] > other.At(i)+messages {
			return true
		}
	}
	return false
}

// At returns the sequence of one stream, by index.
func (m LogMark) At(i int) uint64 {
	if i >= len(m) {
		return 0
	}
	return m[i]
}

// MarshalJSON returns the sequence of the only stream, or an array.
func (m LogMark) MarshalJSON() ([]byte, error) {
	if len(m) == 1 {
		return json.Marshal(m[0]) //nolint:wrapcheck // a number
	}
	return json.Marshal([]uint64(m)) //nolint:wrapcheck // numbers
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (m *LogMark) UnmarshalJSON(raw []byte) error {
	var one uint64
	if json.Unmarshal(raw, &one) == nil {
		*m = LogMark{one}
		return nil
	}
	var all []uint64
	if err := json.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("decode mark: %w", err)
	}
	*m = all
	return nil
}

// LogEnd returns the newest messages of NOTIFICATIONS that this process knows of: what it
// writes from now on is after it.
func (c *Conn) LogEnd() LogMark {
	numbers := c.topology.numbers()
	end := make(LogMark, len(numbers))
	for i, number := range numbers {
		end[i] = c.logEnd[number].Load()
	}
	return end
}

// LogIndex returns the index in a [LogMark] of the stream that has a partition.
func (c *Conn) LogIndex(part int) int { return max(c.topology.number(part)-1, 0) }

// NoteLogged records that NOTIFICATIONS has a message with this sequence.
func (c *Conn) NoteLogged(seq uint64) {
	end := &c.logEnd[seq>>sequenceBits]
	for known := end.Load(); seq > known; known = end.Load() {
		if end.CompareAndSwap(known, seq) {
			return
		}
	}
}

// noteEnd records where a stream ends, if that is one of several of NOTIFICATIONS: a process
// that seldom writes to it would know little of it otherwise.
func (c *Conn) noteEnd(name string, end uint64) {
	if end >= firstSeq(1) && strings.HasPrefix(name, Notifications) {
		c.NoteLogged(end)
	}
}

// ReadLogEnd asks where NOTIFICATIONS ends. That is before the known end if a stream has lost
// its end, as after a power cut.
func (c *Conn) ReadLogEnd(ctx context.Context) (end LogMark, err error) {
	for _, number := range c.topology.numbers() {
		_, last, err := c.StreamEnd(ctx, rangeName(Notifications, number))
		if err != nil {
			return nil, err
		}
		end = append(end, last)
	}
	for i, number := range c.topology.numbers() {
		c.logEnd[number].Store(end[i])
	}
	return end, nil
}
