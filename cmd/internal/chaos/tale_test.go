package chaos

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"poked/events"
)

// tale is the history of a short run without faults: ten messages in one room for one
// pusher.
type tale struct {
	*history

	user *person
	room *chatRoom
}

// taleBegins is the time of the first message; one follows each second.
func taleBegins() time.Time { return time.Unix(1_700_000_000, 0) }

func newTale(t *testing.T) *tale {
	t.Helper()
	c := newCast(8, gatewayCount, rand.New(rand.NewPCG(1, 1)))
	for _, u := range c.users {
		u.late = true // nothing is expected for late users
	}
	user := c.rooms[0].members[0]
	user.late, user.pushkeys, user.gateways = false, user.pushkeys[:1], user.gateways[:1]
	tale := &tale{
		user: user, room: c.rooms[0],
		history: &history{
			cast: c, dead: map[told]bool{}, stored: map[events.UserID][]storedNotification{},
			logs: &testimony{delivered: map[heardOf][]heard{}, troubles: make([][]time.Time, dispatcherCount)},
		},
	}
	tale.room.said = append(tale.room.said, utterance{event: "$own", by: user.id})
	for n := range 10 {
		event := events.EventID("$" + strconv.Itoa(n))
		tale.room.said = append(tale.room.said, utterance{event: event, by: speaker})
		tale.stored[user.id] = append(tale.stored[user.id], storedNotification{uint64(n + 1), tale.room.id, event})
		tale.tell(user, event, n+1)
	}
	tale.lasts = user.toldOf("$9")
	return tale
}

// tell delivers an event to the user's pusher; dispatcher 0 receives the answer.
func (c *tale) tell(user *person, event events.EventID, unread int) {
	arrived := taleBegins().Add(time.Duration(len(c.Pokes)) * time.Second)
	c.Pokes = append(c.Pokes, request{
		Gateway: user.gateways[0], Pushkey: user.pushkeys[0], Event: event, Room: c.room.id, Unread: unread,
		Arrived: arrived, Answered: arrived.Add(time.Millisecond), Status: 200,
	})
	id := heardOf{events.NewPusherID(user.id, appID, user.pushkeys[0]), event}
	c.logs.delivered[id] = append(c.logs.delivered[id], heard{0, arrived.Add(2 * time.Millisecond)})
}

// drop removes the poke with a number.
func (c *tale) drop(n int) { c.Pokes = slices.Delete(c.Pokes, n, n+1) }

// repeat repeats a poke half a second later.
func (c *tale) repeat(n int) {
	again := c.Pokes[n]
	again.Arrived, again.Answered = again.Arrived.Add(500*time.Millisecond), again.Answered.Add(500*time.Millisecond)
	c.Pokes = slices.Insert(c.Pokes, n+1, again)
}

// kill kills a dispatcher some time after the sixth poke.
func (c *tale) kill(dispatcher int, later time.Duration) {
	at := c.Pokes[5].Answered.Add(later)
	c.Faults = append(c.Faults, happened{
		fault: fault{Track: "dispatcher", Kind: faultKill}, dispatchers: []int{dispatcher}, gateway: -1, From: at, To: at,
	})
}
