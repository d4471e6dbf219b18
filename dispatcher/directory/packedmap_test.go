package directory

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"poked/events"
)

func someUser(i int) events.UserID { return events.UserID(fmt.Sprintf("@user%d:x", i)) }

// Users arrive, change and leave, many of whom have the same tag: a shard answers as a
// map does, and does not grow beyond what they need.
func TestShardAnswersAsAMap(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 0))
	var s shard
	var scratch []byte
	model := map[events.UserID]string{}
	for step := range 50_000 {
		i := dice.IntN(200)
		user, tag := someUser(i), uint32(i%16)<<28
		switch {
		case dice.IntN(3) == 0:
			s.remove(tag, user)
			delete(model, user)
		case dice.IntN(1000) == 0:
			for user := range model {
				model[user] += "!"
			}
			scratch = s.rewrite(scratch, 0, func(record []byte) []byte { return append(bytes.Clone(record), '!') })
		default:
			record := bytes.Repeat([]byte{byte(step)}, dice.IntN(300))
			scratch = s.put(scratch, tag, user, record)
			model[user] = string(record)
		}
		i = dice.IntN(200)
		user, tag = someUser(i), uint32(i%16)<<28
		want, known := model[user]
		if got := s.get(tag, user); string(got) != want || (got != nil) != known {
			t.Fatalf("step %d: %s has %q, want %q", step, user, got, want)
		}
		if s.live != len(model) {
			t.Fatalf("step %d: %d users, want %d", step, s.live, len(model))
		}
	}
	if limit := 200 * (300 + 20) * 5 / 4; cap(s.store) > limit || len(s.slots) > 302 {
		t.Errorf("%d bytes and %d slots for 200 users at most", cap(s.store), len(s.slots))
	}
}

// The overhead of a record is bounded, and shards drop what was removed.
func TestPackedMapCostsLittle(t *testing.T) {
	s := newPackedMap()
	record := make([]byte, 100)
	const users = 100_000
	for i := range users {
		s.put(someUser(i), record)
	}
	own := len(someUser(users)) + len(record)
	if each := s.bytes() / users; each > own+own/8+16 {
		t.Errorf("%d bytes a user, whose record has %d with the name", each, own)
	}
	for i := range users {
		s.put(someUser(i), record[:1])
	}
	for i := range s.shards {
		s.rewrite(&s.shards[i], func(record []byte) []byte { return record })
	}
	own -= 99
	if each := s.bytes() / users; s.users != users || each > own+own/8+18 {
		t.Errorf("%d bytes for each of %d users, whose record has %d with the name", each, s.users, own)
	}
	for i := range users {
		s.remove(someUser(i))
	}
	if s.users != 0 || s.has(someUser(1)) {
		t.Errorf("%d users after all were removed", s.users)
	}
}

// bytes returns how much memory the shards have allocated.
func (m *packedMap) bytes() (n int) {
	for i := range m.shards {
		n += cap(m.shards[i].store) + 8*cap(m.shards[i].slots)
	}
	return n
}
