package chaos

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"poked/events"
)

// sampleRun is the history of a short run without faults: ten messages in one room for one
// pusher.
type sampleRun struct {
	*history

	user *person
	room *chatRoom
}

// sampleBegin is the time of the first message; one follows each second.
func sampleBegin() time.Time { return time.Unix(1_700_000_000, 0) }

func newSampleRun(t *testing.T) *sampleRun {
	t.Helper()
	c, err := newPopulation(8, gatewayCount, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range c.users {
		u.late = true // nothing is expected for late users
	}
	user := c.rooms[0].members[0]
	user.late, user.pushkeys, user.gateways = false, user.pushkeys[:1], user.gateways[:1]
	run := &sampleRun{
		user: user, room: c.rooms[0],
		history: &history{
			people: c, dead: map[delivery]bool{}, stored: map[events.UserID][]storedNotification{},
			logs: &deliveryLogs{delivered: map[loggedPoke][]delivered{}, troubles: make([][]time.Time, dispatcherCount)},
		},
	}
	run.room.said = append(run.room.said, publication{event: "$own", by: user.id})
	for n := range 10 {
		event := events.EventID("$" + strconv.Itoa(n))
		run.room.said = append(run.room.said, publication{event: event, by: speaker})
		run.stored[user.id] = append(run.stored[user.id], storedNotification{uint64(n + 1), run.room.id, event})
		run.deliver(user, event, n+1)
	}
	run.lasts = user.deliveriesOf("$9")
	return run
}

// deliver delivers an event to the user's pusher; dispatcher 0 receives the answer.
func (c *sampleRun) deliver(user *person, event events.EventID, unread int) {
	arrived := sampleBegin().Add(time.Duration(len(c.Pokes)) * time.Second)
	c.Pokes = append(c.Pokes, request{
		Gateway: user.gateways[0], Pushkey: user.pushkeys[0], Event: event, Room: c.room.id, Unread: unread,
		Arrived: arrived, Answered: arrived.Add(time.Millisecond), Status: 200,
	})
	id := loggedPoke{events.NewPusherID(user.id, appID, user.pushkeys[0]), event}
	c.logs.delivered[id] = append(c.logs.delivered[id], delivered{0, arrived.Add(2 * time.Millisecond)})
}

// drop removes the poke with a number.
func (c *sampleRun) drop(n int) { c.Pokes = slices.Delete(c.Pokes, n, n+1) }

// repeat repeats a poke half a second later.
func (c *sampleRun) repeat(n int) {
	again := c.Pokes[n]
	again.Arrived, again.Answered = again.Arrived.Add(500*time.Millisecond), again.Answered.Add(500*time.Millisecond)
	c.Pokes = slices.Insert(c.Pokes, n+1, again)
}

// kill kills a dispatcher some time after the sixth poke.
func (c *sampleRun) kill(dispatcher int, later time.Duration) {
	at := c.Pokes[5].Answered.Add(later)
	c.Faults = append(c.Faults, injected{
		fault: fault{Track: "dispatcher", Kind: faultKill}, dispatchers: []int{dispatcher}, gateway: -1, From: at, To: at,
	})
}
