package chaos

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"poked/events"
)

// The same seed gives the same schedule, another seed another one.
func TestChaosSchedule(t *testing.T) {
	for _, track := range allTracks() {
		a, b := track.schedule(1, time.Minute), track.schedule(1, time.Minute)
		if len(a) == 0 || !slices.Equal(a, b) {
			t.Errorf("%s: one seed, two schedules:\n%v\n%v", track.name, a, b)
		}
		if slices.Equal(a, track.schedule(2, time.Minute)) {
			t.Errorf("%s: two seeds, one schedule", track.name)
		}
	}
}

// Every partition has rooms and users, and every user is in a room.
func TestChaosPopulation(t *testing.T) {
	const partitions = 8
	c := newSampleRun(t).people
	users, rooms, members := map[int]bool{}, map[int]bool{}, map[events.UserID]bool{}
	for _, room := range c.rooms {
		rooms[events.PartitionOf(events.Token(room.id), partitions)] = true
		for _, u := range room.members {
			members[u.id] = true
		}
	}
	for _, u := range c.users {
		users[events.PartitionOf(events.Token(u.id), partitions)] = true
	}
	if len(users) != partitions || len(rooms) != partitions || len(members) != len(c.users) {
		t.Errorf("users in %d partitions, rooms in %d, %d of %d users in a room", len(users), len(rooms), len(members), len(c.users))
	}
}

// The checker finds every kind of fault in a history, and nothing in a correct one.
func TestChaosChecker(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*sampleRun)
		want   report // problems of each kind
	}{
		"no problem":      {func(*sampleRun) {}, report{}},
		"a poke was lost": {func(c *sampleRun) { c.drop(5) }, report{Lost: 1}},
		"a lost poke is a dead letter": {func(c *sampleRun) {
			p := c.Pokes[5]
			c.drop(5)
			c.dead[delivery{p.Pushkey, p.Event}] = true
		}, report{}},
		"a poke was refused and not retried": {func(c *sampleRun) { c.Pokes[5].Status = 503 }, report{Lost: 1}},
		"the last message was not delivered, and the badge is old": {func(c *sampleRun) {
			c.drop(len(c.Pokes) - 1)
		}, report{Lost: 1, WrongBadges: 1}},
		"two pokes changed places": {func(c *sampleRun) {
			c.Pokes[4], c.Pokes[5] = c.Pokes[5], c.Pokes[4]
			c.Pokes[4].Unread, c.Pokes[5].Unread = c.Pokes[5].Unread, c.Pokes[4].Unread
		}, report{Disordered: 1}},
		"the badge is wrong at the end": {func(c *sampleRun) {
			c.Pokes[len(c.Pokes)-1].Unread++
		}, report{WrongBadges: 1}},
		"a user was notified of their own message": {func(c *sampleRun) {
			c.deliver(c.user, "$own", 0)
			c.Pokes[len(c.Pokes)-1].Unread = c.Pokes[len(c.Pokes)-2].Unread
		}, report{Unfounded: 1}},
		"a poke was repeated": {func(c *sampleRun) { c.repeat(5) }, report{Unexplained: 1}},
		"a poke was repeated whose answer no dispatcher received": {func(c *sampleRun) {
			c.logs.delivered = nil
			c.repeat(5)
		}, report{}},
		"a poke was repeated after its dispatcher was killed": {func(c *sampleRun) {
			c.kill(0, 100*time.Millisecond)
			c.repeat(5)
		}, report{}},
		"a poke was repeated after its dispatcher was killed much later": {func(c *sampleRun) {
			c.kill(0, 2*time.Second)
			c.repeat(5)
		}, report{Unexplained: 1}},
		"a poke was repeated after its dispatcher was killed much later, and writes were slow": {func(c *sampleRun) {
			c.acks = []acknowledged{{c.Pokes[5].Answered.Add(time.Second), 900 * time.Millisecond}}
			c.kill(0, 2*time.Second)
			c.repeat(5)
		}, report{}},
		"a poke was repeated after another dispatcher was killed": {func(c *sampleRun) {
			c.kill(1, 100*time.Millisecond)
			c.repeat(5)
		}, report{Unexplained: 1}},
		"a poke was repeated whose dispatcher logged trouble with nats": {func(c *sampleRun) {
			c.logs.troubles[0] = []time.Time{c.Pokes[5].Answered.Add(time.Second)}
			c.repeat(5)
		}, report{}},
		"a notification was stored twice": {func(c *sampleRun) {
			stored := c.stored[c.user.id]
			again := stored[3]
			again.seq = 1000
			c.stored[c.user.id] = append(stored, again)
		}, report{StoredTwice: 1, Swapped: 1}},
		"notifications were stored in another order": {func(c *sampleRun) {
			stored := c.stored[c.user.id]
			stored[3].event, stored[4].event = stored[4].event, stored[3].event
		}, report{Swapped: 1, Disordered: 1}},
	} {
		c := newSampleRun(t)
		test.change(c)
		got := c.check()
		if got.kinds() != test.want.kinds() {
			t.Errorf("%s: found %+v, want %+v:\n%s", name, got.kinds(), test.want.kinds(), strings.Join(got.Problems, "\n"))
		}
		if broken := got.verdict() != nil; broken != test.want.broken() {
			t.Errorf("%s: the verdict is %v", name, got.verdict())
		}
	}
}

// kinds returns the number of problems of each kind.
func (r *report) kinds() [7]int {
	return [7]int{r.Lost, r.Disordered, r.StoredTwice, r.Swapped, r.WrongBadges, r.Unfounded, r.Unexplained}
}

func (r *report) broken() bool {
	return r.Lost+r.Disordered+r.StoredTwice+r.Swapped+r.WrongBadges+r.Unfounded+r.Unexplained > 0
}

// The model counts what follows the user's last receipt or message.
func TestChaosModel(t *testing.T) {
	user := &person{id: "@alice:x", pushkeys: []string{"key"}}
	room := &chatRoom{members: []*person{user}, said: []publication{
		{event: "$1", by: "@bob:x"}, {event: "$2", by: "@bob:x"}, {event: "$3", by: "@bob:x"},
		{kind: isReceipt, event: "$2", by: "@alice:x"}, {kind: isReceipt, event: "$3", by: "@bob:x"},
	}}
	c := &population{users: []*person{user}, rooms: []*chatRoom{room}}
	badge := func() int { return model{}.badge(c, user) }
	if got := badge(); got != 1 {
		t.Errorf("after a receipt for the second of three the badge is %d", got)
	}
	room.said = append(room.said, publication{event: "$4", by: "@alice:x"})
	if got := badge(); got != 0 {
		t.Errorf("after a message of one's own the badge is %d", got)
	}
	room.said = append(room.said, publication{event: "$5", by: "@bob:x"})
	if got := badge(); got != 1 {
		t.Errorf("after another message the badge is %d", got)
	}
	room.said = append(room.said, publication{event: "$6", by: "@bob:x", only: map[events.UserID]bool{}})
	if got := badge(); got != 1 {
		t.Errorf("after a message that did not reach the user the badge is %d", got)
	}
	room.said = append(room.said, publication{kind: isRedaction, event: "$5", by: "@bob:x"})
	if got := badge(); got != 0 {
		t.Errorf("after the redaction of the other message the badge is %d", got)
	}
}

// Each log message that explains a repeated poke is one that the dispatcher writes.
func TestTroublesomeMessagesAreLogged(t *testing.T) {
	var source strings.Builder
	for _, dir := range []string{"dispatcher", "events"} {
		err := filepath.WalkDir(filepath.Join("..", "..", "..", dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			_, _ = source.Write(content) // a strings.Builder never fails
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, message := range append(troublesome(), "poke", stopsReading, readsAgain, startsAnew) {
		if !strings.Contains(source.String(), strconv.Quote(message)) {
			t.Errorf("no dispatcher logs %q", message)
		}
	}
}
