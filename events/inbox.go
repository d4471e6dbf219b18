package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/tidwall/gjson"
)

// InboxRoom is what a user has not read in a room. It is the value of
// <part>.<user>.<room> in the bucket INBOX: a snapshot of what the owner of the partition
// has in memory.
type InboxRoom struct {
	// Applied is the sequence of NOTIFICATIONS up to which the snapshot includes
	// everything, and Incarnation the incarnation of the log to which that sequence
	// belongs, see [InboxPosition].
	Applied     uint64
	Incarnation int
	// Older is how many more notifications are unread than Entries has, which are older
	// than all of these. OlderSeq and OlderRoomSeq are the highest sequences of any of
	// them, in NOTIFICATIONS and in ROOMS.
	Older, OlderSeq, OlderRoomSeq uint64
	// Marked is the sequence of NOTIFICATIONS at which the user marked the room as unread, or 0
	// if it is not marked, and MarkedBy that of the message in ROOMS that said so.
	Marked, MarkedBy uint64
	Threads          []EventID // the threads of the entries
	Entries          []InboxEntry
}

// InboxEntry is one unread notification.
type InboxEntry struct {
	Seq     uint64 // in NOTIFICATIONS
	RoomSeq uint64 // of its event, in ROOMS
	Thread  int    // 0 for the main timeline, or the number of its thread, from 1 on
	Flags   InboxFlags
	Hash    uint32 // of the event id, see [HashEvent]
}

// InboxFlags are properties of an unread notification.
type InboxFlags uint8

// The flags.
const (
	InboxPartial   InboxFlags = 1 << iota // it may not be for each of the user's pushers, or not for long
	InboxRetried                          // a retried dead letter, which does not count again
	InboxHighlight                        // a highlight
)

// HashEvent returns the hash of an event id by which a receipt finds the event among what
// its user has not read.
func HashEvent(id EventID) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return h.Sum32()
}

// ErrBadInbox is wrapped by errors about a value of INBOX that cannot be read.
var ErrBadInbox = errors.New("bad inbox")

// AppendJSON appends the value as it is stored. The sequences of an entry are differences
// to those of the entry before it.
func (r *InboxRoom) AppendJSON(dst []byte) []byte {
	dst = strconv.AppendUint(append(dst, `{"applied":`...), r.Applied, 10)
	dst = strconv.AppendInt(append(dst, `,"incarnation":`...), int64(r.Incarnation), 10)
	if r.Older > 0 {
		dst = strconv.AppendUint(append(dst, `,"older":[`...), r.Older, 10)
		dst = strconv.AppendUint(append(dst, ','), r.OlderSeq, 10)
		dst = strconv.AppendUint(append(dst, ','), r.OlderRoomSeq, 10)
		dst = append(dst, ']')
	}
	if r.Marked > 0 {
		dst = strconv.AppendUint(append(dst, `,"marked":[`...), r.Marked, 10)
		dst = strconv.AppendUint(append(dst, ','), r.MarkedBy, 10)
		dst = append(dst, ']')
	}
	if len(r.Threads) > 0 {
		dst = append(dst, `,"threads":[`...)
		for i, root := range r.Threads {
			dst = appendString(appendComma(dst, i), string(root))
		}
		dst = append(dst, ']')
	}
	dst = append(dst, `,"entries":[`...)
	var last InboxEntry
	for i, e := range r.Entries {
		dst = append(appendComma(dst, i), '[')
		dst = strconv.AppendUint(dst, e.Seq-last.Seq, 10)
		dst = strconv.AppendInt(append(dst, ','), int64(e.RoomSeq)-int64(last.RoomSeq), 10) //nolint:gosec // sequences stay below 2^63
		dst = strconv.AppendInt(append(dst, ','), int64(e.Thread), 10)
		dst = strconv.AppendUint(append(dst, ','), uint64(e.Flags), 10)
		dst = strconv.AppendUint(append(dst, ','), uint64(e.Hash), 10)
		dst = append(dst, ']')
		last = e
	}
	return append(dst, `]}`...)
}

// ParseInboxRoom parses what [InboxRoom.AppendJSON] wrote. Errors wrap [ErrBadInbox].
func ParseInboxRoom(raw []byte) (r InboxRoom, err error) {
	if !gjson.ValidBytes(raw) {
		return r, fmt.Errorf("%w: not JSON", ErrBadInbox)
	}
	well, has := true, 0
	gjson.ParseBytes(raw).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "applied":
			r.Applied = value.Uint()
			has++
		case "incarnation":
			r.Incarnation = int(value.Int())
		case "older":
			well = into(value, &r.Older, &r.OlderSeq, &r.OlderRoomSeq) && well
		case "marked":
			well = into(value, &r.Marked, &r.MarkedBy) && well
		case "threads":
			value.ForEach(func(_, root gjson.Result) bool {
				r.Threads = append(r.Threads, EventID([]byte(root.Str)))
				return true
			})
		case "entries":
			has++
			well = r.parseEntries(value) && well
		}
		return true
	})
	for _, e := range r.Entries {
		well = well && e.Thread <= len(r.Threads)
	}
	if !well || has != 2 {
		return InboxRoom{}, fmt.Errorf("%w: a field is missing or wrong", ErrBadInbox)
	}
	return r, nil
}

// into stores an array of as many numbers, counts or sequences.
func into(list gjson.Result, fields ...*uint64) (well bool) {
	n := numbers(list)
	if len(n) != len(fields) {
		return false
	}
	for i, field := range fields {
		*field = uint64(n[i]) //nolint:gosec // as they were written
	}
	return true
}

func (r *InboxRoom) parseEntries(list gjson.Result) (well bool) {
	well = list.IsArray()
	var last InboxEntry
	list.ForEach(func(_, one gjson.Result) bool {
		n := numbers(one)
		if well = well && len(n) == 5 && n[0] > 0 && n[2] >= 0; !well {
			return false
		}
		last = InboxEntry{
			Seq: last.Seq + uint64(n[0]), RoomSeq: uint64(int64(last.RoomSeq) + n[1]), Thread: int(n[2]), //nolint:gosec // sequences
			Flags: InboxFlags(n[3]), Hash: uint32(n[4]), //nolint:gosec // as they were written
		}
		r.Entries = append(r.Entries, last)
		return true
	})
	return well
}

func numbers(list gjson.Result) (n []int64) {
	list.ForEach(func(_, one gjson.Result) bool {
		n = append(n, one.Int())
		return true
	})
	return n
}

// InboxPosition says up to where the snapshots of a partition go. It is the value of
// position.<part> in the bucket INBOX, and part of each write to the partition's keys.
type InboxPosition struct {
	// Seq is the sequence of NOTIFICATIONS up to which everything is in the snapshots. It
	// is one flush late, for a power cut may take the newest version of some keys, unless
	// the owner stopped in order.
	Seq uint64 `json:"seq"`
	// Sure is the same of some seconds before, when the owner stopped in order: what the
	// log has up to there survives a power cut.
	Sure uint64 `json:"sure"`
	// Head is the highest sequence that any snapshot may include, and HeadAt is when NATS
	// stored that message. If the log does not have the same message there any more, it
	// has lost its end, and has given out sequences again.
	Head   uint64    `json:"head,omitempty"`
	HeadAt time.Time `json:"head_at,omitzero"`
	Stream time.Time `json:"stream"` // when the stream of these sequences was made
	// Incarnation is how often the log has lost its end, and Cuts is what was left then.
	Incarnation int        `json:"incarnation,omitempty"`
	Cuts        []InboxCut `json:"cuts,omitempty"`
}

// InboxCut is that the log lost its end, after a power cut.
type InboxCut struct {
	Incarnation int       `json:"incarnation"` // the one that began then
	After       uint64    `json:"after"`       // nothing that an earlier incarnation says of later sequences holds
	At          time.Time `json:"at"`
}

// Cut ends an incarnation of the log: nothing that the snapshots say of what came after a
// sequence holds. Cuts from before a time are forgotten.
func (p *InboxPosition) Cut(after uint64, now, before time.Time) {
	p.Incarnation++
	p.Seq, p.Sure = min(p.Seq, after), min(p.Sure, after)
	p.Head, p.HeadAt = 0, time.Time{}
	cuts := []InboxCut{{Incarnation: p.Incarnation, After: after, At: now}}
	for _, cut := range p.Cuts {
		if cut.At.After(before) {
			cuts = append(cuts, cut)
		}
	}
	p.Cuts = cuts
}

// Apply removes from a snapshot what does not hold: what was cut since it was made, and what
// is beyond the head. No snapshot is, unless the bucket has lost its end, and with it a newer
// position.
func (p *InboxPosition) Apply(r *InboxRoom) {
	for _, cut := range p.Cuts {
		if cut.Incarnation > r.Incarnation {
			r.cut(cut.After)
		}
	}
	if p.Head > 0 && r.Incarnation == p.Incarnation && r.Applied > p.Head {
		r.cut(p.Head)
	}
	r.Incarnation = p.Incarnation
}

// cut removes what came after a sequence of NOTIFICATIONS.
func (r *InboxRoom) cut(after uint64) {
	r.Applied = min(r.Applied, after)
	for i, e := range r.Entries {
		if e.Seq > after {
			r.Entries = r.Entries[:i]
			break
		}
	}
	if r.OlderSeq > after {
		r.Older, r.OlderSeq, r.OlderRoomSeq = 0, 0, 0
	}
	if r.Marked > after {
		r.Marked, r.MarkedBy = 0, 0
	}
}

// Encode returns the position as it is stored.
func (p *InboxPosition) Encode() []byte {
	raw, err := json.Marshal(p)
	if err != nil { // only a time out of range, which no server has given
		return nil
	}
	return raw
}

// ParseInboxPosition parses a position. Errors wrap [ErrBadInbox].
func ParseInboxPosition(raw []byte) (p InboxPosition, err error) {
	if err := json.Unmarshal(raw, &p); err != nil || p.Stream.IsZero() {
		return InboxPosition{}, fmt.Errorf("%w: not a position", ErrBadInbox)
	}
	return p, nil
}
