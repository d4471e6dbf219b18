package stream

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"poked/events"
)

// The log in ranges. With [Topology.Streams] above 1, each of ROOMS, ROOM_STATE and
// NOTIFICATIONS is that many streams: ROOMS_1, ROOMS_2 and so on, each with a range of the
// partitions, and with a Raft group of its own. A partition is in one of them, so whatever
// follows a partition, or asks for a room or a user, is the same as with one stream.
//
// The sequences of a stream begin at its number times 2^48. So no two messages of the log have
// the same sequence, and a sequence tells its stream, also where it is stored: in a
// notification, in INBOX, in a dead letter.
//
// A room event is published on room.<room>.…, which says nothing of the partition, and a
// stream can only choose by subject. With one stream, that stream transforms the subject.
// With more, poked publishes on rooms.<part>.<room>.… itself, and everybody else needs a
// subject mapping of the account (nats.conf), which [Conn.CheckMapping] compares with the
// streams.

// MaxStreams is the largest number of streams: their sequences stay below 2^53, which every
// JSON parser can read.
const MaxStreams = 16

// sequenceBits is how many bits of a sequence count the messages of one stream.
const sequenceBits = 48

// metaStreams is the metadata key of the number of streams, if there is more than one.
const metaStreams = "poked_streams"

// ErrStreams is wrapped by the error about streams that were made with another
// [Topology.Streams].
var ErrStreams = errors.New("number of streams differs from the one that exists")

// ErrMapping is wrapped by the error about a subject mapping that does not fit the streams.
var ErrMapping = errors.New("the subject mapping of NATS does not fit the streams")

// rangeName returns the name of a stream by its number, which is 0 if there is only one.
func rangeName(base string, number int) string {
	if number == 0 {
		return base
	}
	return base + "_" + strconv.Itoa(number)
}

// numbers returns the numbers of the streams: from 1 on, or only 0 if there is one.
func (t Topology) numbers() []int {
	if t.Streams <= 1 {
		return []int{0}
	}
	numbers := make([]int, t.Streams)
	for i := range numbers {
		numbers[i] = i + 1
	}
	return numbers
}

// number returns the number of the stream that has a partition.
func (t Topology) number(part int) int {
	if t.Streams <= 1 {
		return 0
	}
	return 1 + part*t.Streams/t.Partitions
}

// subjects returns the subjects of a stream: those of its partitions, or all, if there is only
// one stream.
func (t Topology) subjects(number int, prefix, suffix, all string) (subjects []string) {
	if number == 0 {
		return []string{all}
	}
	for part := range t.Partitions {
		if t.number(part) == number {
			subjects = append(subjects, prefix+strconv.Itoa(part)+suffix)
		}
	}
	return subjects
}

// firstSeq returns the first sequence of a stream, as its configuration has it.
func firstSeq(number int) uint64 {
	if number == 0 {
		return 0
	}
	return uint64(number)<<sequenceBits + 1 //nolint:gosec // at most MaxStreams
}

// Ordinal returns a sequence without the number of its stream.
func Ordinal(seq uint64) uint64 { return seq & (1<<sequenceBits - 1) }

// StreamOf returns the name of the stream with a partition of [Rooms] or [Notifications].
func (t Topology) StreamOf(base string, part int) string {
	return rangeName(base, t.number(part))
}

// StreamsOf returns the names of all streams of [Rooms] or [Notifications].
func (t Topology) StreamsOf(base string) (names []string) {
	for _, number := range t.numbers() {
		names = append(names, rangeName(base, number))
	}
	return names
}

// logAt returns the name of the stream NOTIFICATIONS with a sequence, or "" if there is none, as
// for a sequence from before the number of streams was changed.
func (c *Conn) logAt(seq uint64) string {
	name := rangeName(Notifications, int(seq>>sequenceBits))
	if c.streams[name] == nil {
		return ""
	}
	return name
}

// RoomsOf returns the name of the stream with the events of a room.
func (t Topology) RoomsOf(room events.RoomID) string { return t.StreamOf(Rooms, t.PartOfRoom(room)) }

// StateOf returns the name of the stream with the state of the room with a token.
func (t Topology) StateOf(token string) string {
	return t.StreamOf(RoomState, events.PartitionOf(token, t.Partitions))
}

// On returns the subject on which poked publishes what belongs on room.<room>.…: with one
// stream the same, otherwise one that says which stream it is for. Others stay as they are.
func (t Topology) On(subject string) string {
	rest, ok := strings.CutPrefix(subject, "room.")
	if !ok || t.Streams <= 1 {
		return subject
	}
	token, _, _ := strings.Cut(rest, ".")
	return "rooms." + t.partOf(token) + "." + rest
}

// IsAstray reports whether a message of ROOMS is not in its room's partition, as after a change
// of the account's subject mapping, or from a publisher that counts partitions in another way.
func (t Topology) IsAstray(stored string) bool {
	return t.Streams > 1 && stored != t.On(events.PublishedAs(stored))
}

// logStreams returns the names of the streams that are made for each range of partitions.
func (t Topology) logStreams() (names []string) {
	for _, base := range []string{Rooms, RoomState, Notifications} {
		for _, number := range t.numbers() {
			names = append(names, rangeName(base, number))
		}
	}
	return slices.Clip(names)
}
