package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"poked/events"
)

// person is somebody who is to be notified.
type person struct {
	id       events.UserID
	token    string   // for the registry
	pushkeys []string // of the pushers
	gateways []int    // of those pushers
	late     bool     // the pusher is set in the middle of it all
}

// chatRoom is a room, and what was published in it.
type chatRoom struct {
	id      events.RoomID
	number  int
	members []*person   // in the order of their ids
	said    []utterance // in the order of publishing; the room's publisher owns it while it works
}

// utterance is something that was published and acknowledged.
type utterance struct {
	kind  utteranceKind
	event events.EventID // of a message; of the others the one that they are about
	by    events.UserID  // who said it, or whose receipt it is

	// only are the users whom it notified, of an event from before everybody's
	// pushers were known; nil means all.
	only map[events.UserID]bool
}

// utteranceKind is what an utterance is.
type utteranceKind uint8

const (
	isMessage utteranceKind = iota
	isReceipt
	isRedaction
	utteranceKinds
)

// speaker says most of it and has no pusher.
const speaker = events.UserID("@speaker:chaos.example")

// cast is everybody and every room: at least one room and one user of each
// partition.
type cast struct {
	users []*person
	rooms []*chatRoom
}

// roomsEach, usersEach and lateEach are how many there are in a partition.
const (
	roomsEach = 2
	usersEach = 3
	lateEach  = 1
)

// membersEach is how many users are in a room, apart from the one whose pusher
// comes late.
const membersEach = 4

// newCast returns a cast in which luck decides who is where.
func newCast(partitions, gateways int, luck *rand.Rand) *cast {
	c := &cast{}
	for n, id := range inPartitions[events.UserID]("@user-%d:chaos.example", partitions, usersEach+lateEach) {
		u := &person{id: id, token: "token-" + strconv.Itoa(n), late: n%(usersEach+lateEach) >= usersEach}
		pushers := 1 + luck.IntN(2)
		if u.late {
			pushers = 1
		}
		for k := range pushers {
			u.pushkeys = append(u.pushkeys, fmt.Sprintf("%s key %d", id, k))
			u.gateways = append(u.gateways, luck.IntN(gateways))
		}
		c.users = append(c.users, u)
	}
	for n, id := range inPartitions[events.RoomID]("!room-%d:chaos.example", partitions, roomsEach) {
		c.rooms = append(c.rooms, &chatRoom{id: id, number: n})
	}
	c.join(luck)
	return c
}

// join has every user in a room, and every room enough of them.
func (c *cast) join(luck *rand.Rand) {
	for n, u := range c.users {
		c.rooms[n%len(c.rooms)].add(u)
	}
	for _, room := range c.rooms {
		for len(room.members) < membersEach+1 {
			if u := c.users[luck.IntN(len(c.users))]; !u.late {
				room.add(u)
			}
		}
		slices.SortFunc(room.members, func(a, b *person) int { return strings.Compare(string(a.id), string(b.id)) })
	}
}

func (r *chatRoom) add(u *person) {
	if !slices.Contains(r.members, u) {
		r.members = append(r.members, u)
	}
}

// last returns the message that was said last in the room, if any was.
func (r *chatRoom) last() (events.EventID, bool) {
	for _, u := range slices.Backward(r.said) {
		if u.kind == isMessage {
			return u.event, true
		}
	}
	return "", false
}

// inPartitions returns ids of which there are as many in each partition as each
// says, in the order of partitions.
func inPartitions[T ~string](pattern string, partitions, each int) []T {
	found := make([][]T, partitions)
	for n, left := 0, partitions*each; left > 0; n++ {
		id := T(fmt.Sprintf(pattern, n))
		if part := events.PartitionOf(events.Token(id), partitions); len(found[part]) < each {
			found[part] = append(found[part], id)
			left--
		}
	}
	return slices.Concat(found...)
}
