package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"poked/events"
	"poked/events/webpush/webpushtest"
)

// person is a user with pushers.
type person struct {
	id       events.UserID
	token    string                 // for the registry
	pushkeys []string               // of the pushers
	gateways []int                  // of those pushers
	browsers []*webpushtest.Browser // those pushers that are browsers, nil for the others
	late     bool                   // the pusher is set during the faults
}

// chatRoom is a room with everything published in it.
type chatRoom struct {
	id      events.RoomID
	number  int
	members []*person     // in the order of their ids
	said    []publication // in order; owned by the goroutine that publishes in the room
}

// publication is a message, receipt or redaction that was published and acknowledged.
type publication struct {
	kind  publicationKind
	event events.EventID // the message, or the one that a receipt or redaction is for
	by    events.UserID  // its sender, or the user of the receipt

	// only is the set of notified users, for a message sent before all pushers were
	// known; nil means all members.
	only map[events.UserID]bool
}

// publicationKind is the kind of a publication.
type publicationKind uint8

const (
	isMessage publicationKind = iota
	isReceipt
	isRedaction
	publicationKinds
)

// speaker sends most messages and has no pusher.
const speaker = events.UserID("@speaker:chaos.example")

// population is all users and rooms. Each partition has some of both.
type population struct {
	users []*person
	rooms []*chatRoom
}

// roomsEach, usersEach and lateEach are the numbers in each partition.
const (
	roomsEach = 2
	usersEach = 3
	lateEach  = 1
)

// membersEach is how many users are in a room, besides a late one.
const membersEach = 4

// newPopulation returns users and rooms with random memberships and gateways.
func newPopulation(partitions, gateways int, rng *rand.Rand) (*population, error) {
	c := &population{}
	for n, id := range inPartitions[events.UserID]("@user-%d:chaos.example", partitions, usersEach+lateEach) {
		u := &person{id: id, token: "token-" + strconv.Itoa(n), late: n%(usersEach+lateEach) >= usersEach}
		pushers := 1 + rng.IntN(2)
		if u.late {
			pushers = 1
		}
		for k := range pushers {
			key, browser := fmt.Sprintf("%s key %d", id, k), (*webpushtest.Browser)(nil)
			if (n+k)%2 == 1 { // half of all pushers are browsers
				var err error
				if browser, err = webpushtest.New(); err != nil {
					return nil, err
				}
				key = browser.Pushkey()
			}
			u.pushkeys, u.browsers = append(u.pushkeys, key), append(u.browsers, browser)
			u.gateways = append(u.gateways, rng.IntN(gateways))
		}
		c.users = append(c.users, u)
	}
	for n, id := range inPartitions[events.RoomID]("!room-%d:chaos.example", partitions, roomsEach) {
		c.rooms = append(c.rooms, &chatRoom{id: id, number: n})
	}
	c.join(rng)
	return c, nil
}

// join adds every user to a room, and enough members to every room.
func (c *population) join(rng *rand.Rand) {
	for n, u := range c.users {
		c.rooms[n%len(c.rooms)].add(u)
	}
	for _, room := range c.rooms {
		for len(room.members) < membersEach+1 {
			if u := c.users[rng.IntN(len(c.users))]; !u.late {
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

// last returns the last message of the room, if there is one.
func (r *chatRoom) last() (events.EventID, bool) {
	for _, u := range slices.Backward(r.said) {
		if u.kind == isMessage {
			return u.event, true
		}
	}
	return "", false
}

// inPartitions returns ids in the order of their partitions, the same number in each
// partition.
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
