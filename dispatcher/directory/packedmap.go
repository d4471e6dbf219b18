package directory

import (
	"encoding/binary"
	"hash/maphash"
	"slices"

	"poked/events"
)

// packedMap keep one record of bytes for each user, for millions of users: beside
// itself a record costs 12 bytes and a sixteenth of its length, where a Go map
// takes 70, and there is no pointer in it for the garbage collector to follow.
//
// A shelf is found by hash, and is short enough to be written anew in a fraction
// of a millisecond: that is how it grows, and how it forgets. Of a million users
// each has a thousand.
type packedMap struct {
	seed    maphash.Seed
	all     [shelfCount]packedShard
	users   int
	scratch []byte // what a shelf is written into before its size is known
}

const shelfCount = 1024

// packedShard is the users of one hash. A slot has the tag of a user, which is another
// part of the hash, in its upper half, and in its lower half where in store the
// record begins, counted from firstPlace.
type packedShard struct {
	slots []uint64
	taken int // slots that are not free
	live  int // users
	store []byte
}

// What else the lower half of a slot may be.
const (
	slotFree   = 0
	slotGone   = 1
	firstPlace = 2
)

func newPackedMap() *packedMap { return &packedMap{seed: maphash.MakeSeed()} }

// of returns a user's shelf, and the tag by which they are found there.
func (s *packedMap) of(user events.UserID) (*packedShard, uint32) {
	hash := maphash.String(s.seed, string(user))
	return &s.all[hash>>32%shelfCount], uint32(hash) //nolint:gosec // the lower half is meant
}

// get returns a user's record, or nil. It must not be changed, and never
// changes.
func (s *packedMap) get(user events.UserID) []byte {
	shelf, tag := s.of(user)
	return shelf.get(tag, user)
}

// has says whether a user has a record.
func (s *packedMap) has(user events.UserID) bool {
	shelf, tag := s.of(user)
	_, found := shelf.find(tag, user)
	return found
}

// put makes record, of which it keeps a copy, that of a user.
func (s *packedMap) put(user events.UserID, record []byte) {
	shelf, tag := s.of(user)
	before := shelf.live
	s.scratch = shelf.put(s.scratch, tag, user, record)
	s.users += shelf.live - before
}

// remove forgets a user.
func (s *packedMap) remove(user events.UserID) {
	shelf, tag := s.of(user)
	before := shelf.live
	shelf.remove(tag, user)
	s.users += shelf.live - before
}

// rewrite replaces the records of one shelf by what change makes of them, which
// is not empty.
func (s *packedMap) rewrite(shelf *packedShard, change func(record []byte) []byte) {
	s.scratch = shelf.rewrite(s.scratch, 0, change)
}

func (s *packedShard) get(tag uint32, user events.UserID) []byte {
	slot, found := s.find(tag, user)
	if !found {
		return nil
	}
	_, record := s.at(s.slots[slot])
	return record
}

func (s *packedShard) put(scratch []byte, tag uint32, user events.UserID, record []byte) []byte {
	if size := sizeOf(len(user), len(record)); !s.hasRoom(size) {
		scratch = s.rewrite(scratch, size, nil)
	}
	slot, found := s.find(tag, user)
	if !found {
		s.taken++
		s.live++
	}
	s.slots[slot] = s.write(tag, []byte(user), record)
	return scratch
}

func (s *packedShard) remove(tag uint32, user events.UserID) {
	if slot, found := s.find(tag, user); found {
		s.slots[slot] = slotGone
		s.live--
	}
}

// find returns the slot where a user's record is, or could be put if there is
// room for one more.
func (s *packedShard) find(tag uint32, user events.UserID) (slot int, found bool) {
	if len(s.slots) == 0 {
		return 0, false
	}
	for i := s.first(tag); ; {
		entry := s.slots[i]
		if entry == slotFree {
			return i, false
		}
		if entry>>32 == uint64(tag) && entry != slotGone {
			if owner, _ := s.at(entry); string(owner) == string(user) {
				return i, true
			}
		}
		if i++; i == len(s.slots) {
			i = 0
		}
	}
}

// first returns where the search for a tag begins.
func (s *packedShard) first(tag uint32) int {
	return int(uint64(tag) * uint64(len(s.slots)) >> 32)
}

// at returns the user and the record that a slot leads to.
func (s *packedShard) at(entry uint64) (user, record []byte) {
	rest := s.store[uint32(entry)-firstPlace:] //nolint:gosec // the lower half is meant
	user, rest = cut(rest)
	record, _ = cut(rest)
	return user, record
}

// cut takes a length, and as many bytes, from the beginning.
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

// write appends a record to store, where there is room, and returns its slot.
func (s *packedShard) write(tag uint32, user, record []byte) uint64 {
	place := len(s.store)
	s.store = appendText(appendText(s.store, user), record)
	// A shelf is far from 4 GiB.
	return uint64(tag)<<32 | uint64(place+firstPlace)
}

// hasRoom says whether one more record of a size has room: in store, and so that
// a quarter of the slots stays free.
func (s *packedShard) hasRoom(size int) bool {
	return len(s.store)+size <= cap(s.store) && 4*(s.taken+1) <= 3*len(s.slots)
}

// rewrite writes all records anew, changed by change if there is one, without
// what is dead, and with room for one more and then an eighth of all.
func (s *packedShard) rewrite(scratch []byte, more int, change func(record []byte) []byte) []byte {
	old := *s
	*s = packedShard{slots: make([]uint64, (old.live+1)*3/2+2), store: scratch[:0]}
	for _, entry := range old.slots {
		if entry == slotFree || entry == slotGone {
			continue
		}
		user, record := old.at(entry)
		if change != nil {
			record = change(record)
		}
		tag := uint32(entry >> 32)
		s.slots[s.free(tag)] = s.write(tag, user, record)
		s.taken++
		s.live++
	}
	scratch = s.store
	s.store = append(slices.Grow([]byte(nil), len(scratch)+more+len(scratch)/8), scratch...)
	return scratch
}

// free returns the slot for a tag that is new.
func (s *packedShard) free(tag uint32) int {
	i := s.first(tag)
	for s.slots[i] != slotFree {
		if i++; i == len(s.slots) {
			i = 0
		}
	}
	return i
}

// records calls do with each record.
func (s *packedShard) records(do func(record []byte)) {
	s.each(func(_, record []byte) { do(record) })
}

// each calls do with each user and record.
func (s *packedShard) each(do func(user, record []byte)) {
	for _, entry := range s.slots {
		if entry != slotFree && entry != slotGone {
			do(s.at(entry))
		}
	}
}
