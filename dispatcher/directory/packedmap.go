package directory

import (
	"encoding/binary"
	"hash/maphash"
	"slices"

	"poked/events"
)

// packedMap holds one record of bytes for each user, for millions of users. A record costs
// 12 bytes and a sixteenth of its length beside itself, where a Go map takes 70, and holds
// no pointer for the garbage collector to follow.
//
// A user's hash selects a shard. A shard is short enough to be rewritten in a fraction of
// a millisecond, which is how it grows and how it drops dead records: of a million users
// each holds a thousand.
type packedMap struct {
	seed    maphash.Seed
	shards  [shardCount]shard
	users   int
	scratch []byte // what a shard is written into before its size is known
}

const shardCount = 1024

// shard holds the users of one hash. A slot is the user's tag, which is another part of the
// hash, in the upper half, and in the lower half where the record begins in store, counted
// from firstOffset.
type shard struct {
	slots []uint64
	taken int // slots that are not free
	live  int // users
	store []byte
}

// Values of a slot that leads to no record, and the offset of the first record.
const (
	slotFree    = 0
	slotRemoved = 1
	firstOffset = 2
)

func newPackedMap() *packedMap { return &packedMap{seed: maphash.MakeSeed()} }

// shardOf returns a user's shard, and the tag by which the user is found there.
func (m *packedMap) shardOf(user events.UserID) (*shard, uint32) {
	hash := maphash.String(m.seed, string(user))
	return &m.shards[hash>>32%shardCount], uint32(hash) //nolint:gosec // the lower half is meant
}

// get returns a user's record, or nil. The record never changes, and the caller must not
// change it.
func (m *packedMap) get(user events.UserID) []byte {
	s, tag := m.shardOf(user)
	return s.get(tag, user)
}

// has reports whether a user has a record.
func (m *packedMap) has(user events.UserID) bool {
	s, tag := m.shardOf(user)
	_, found := s.find(tag, user)
	return found
}

// put copies a record and makes it the user's.
func (m *packedMap) put(user events.UserID, record []byte) {
	s, tag := m.shardOf(user)
	before := s.live
	m.scratch = s.put(m.scratch, tag, user, record)
	m.users += s.live - before
}

// remove forgets a user.
func (m *packedMap) remove(user events.UserID) {
	s, tag := m.shardOf(user)
	before := s.live
	s.remove(tag, user)
	m.users += s.live - before
}

// rewrite replaces each record of a shard by what change returns for it, which must not be
// empty.
func (m *packedMap) rewrite(s *shard, change func(record []byte) []byte) {
	m.scratch = s.rewrite(m.scratch, 0, change)
}

func (s *shard) get(tag uint32, user events.UserID) []byte {
	i, found := s.find(tag, user)
	if !found {
		return nil
	}
	_, record := s.at(s.slots[i])
	return record
}

func (s *shard) put(scratch []byte, tag uint32, user events.UserID, record []byte) []byte {
	if size := sizeOf(len(user), len(record)); !s.hasRoom(size) {
		scratch = s.rewrite(scratch, size, nil)
	}
	i, found := s.find(tag, user)
	if !found {
		s.taken++
		s.live++
	}
	s.slots[i] = s.write(tag, []byte(user), record)
	return scratch
}

func (s *shard) remove(tag uint32, user events.UserID) {
	if i, found := s.find(tag, user); found {
		s.slots[i] = slotRemoved
		s.live--
	}
}

// find returns the index of a user's slot, or of a free one that the user may take.
func (s *shard) find(tag uint32, user events.UserID) (index int, found bool) {
	if len(s.slots) == 0 {
		return 0, false
	}
	for i := s.first(tag); ; {
		slot := s.slots[i]
		if slot == slotFree {
			return i, false
		}
		if slot>>32 == uint64(tag) && slot != slotRemoved {
			if owner, _ := s.at(slot); string(owner) == string(user) {
				return i, true
			}
		}
		if i++; i == len(s.slots) {
			i = 0
		}
	}
}

// first returns where the search for a tag begins.
func (s *shard) first(tag uint32) int {
	return int(uint64(tag) * uint64(len(s.slots)) >> 32)
}

// at returns the user and the record that a slot leads to.
func (s *shard) at(slot uint64) (user, record []byte) {
	rest := s.store[uint32(slot)-firstOffset:] //nolint:gosec // the lower half is meant
	user, rest = cut(rest)
	record, _ = cut(rest)
	return user, record
}

// cut splits off a length and as many bytes, and returns these bytes and the rest.
func cut(from []byte) (head, rest []byte) {
	size, n := binary.Uvarint(from)
	end := n + int(size) //nolint:gosec // we wrote it
	return from[n:end:end], from[end:]
}

// sizeOf returns how many bytes of store a record takes.
func sizeOf(user, record int) int {
	return user + record + uvarintLen(user) + uvarintLen(record)
}

func uvarintLen(n int) (size int) {
	for size = 1; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// write appends a record to store, which must have room, and returns its slot.
func (s *shard) write(tag uint32, user, record []byte) uint64 {
	offset := len(s.store) // a shard is far from 4 GiB
	s.store = appendText(appendText(s.store, user), record)
	return uint64(tag)<<32 | uint64(offset+firstOffset)
}

// hasRoom reports whether one more record of a size fits into store, and leaves a quarter
// of the slots free.
func (s *shard) hasRoom(size int) bool {
	return len(s.store)+size <= cap(s.store) && 4*(s.taken+1) <= 3*len(s.slots)
}

// rewrite writes all live records anew, each as change returns it unless change is nil. It
// leaves room for more bytes, and for growth by an eighth.
func (s *shard) rewrite(scratch []byte, more int, change func(record []byte) []byte) []byte {
	old := *s
	*s = shard{slots: make([]uint64, (old.live+1)*3/2+2), store: scratch[:0]}
	for _, slot := range old.slots {
		if slot == slotFree || slot == slotRemoved {
			continue
		}
		user, record := old.at(slot)
		if change != nil {
			record = change(record)
		}
		tag := uint32(slot >> 32)
		s.slots[s.free(tag)] = s.write(tag, user, record)
		s.taken++
		s.live++
	}
	scratch = s.store
	s.store = append(slices.Grow([]byte(nil), len(scratch)+more+len(scratch)/8), scratch...)
	return scratch
}

// free returns the index of the free slot for a tag that is new.
func (s *shard) free(tag uint32) int {
	i := s.first(tag)
	for s.slots[i] != slotFree {
		if i++; i == len(s.slots) {
			i = 0
		}
	}
	return i
}

// each calls do with each user and record.
func (s *shard) each(do func(user, record []byte)) {
	for _, slot := range s.slots {
		if slot != slotFree && slot != slotRemoved {
			do(s.at(slot))
		}
	}
}
