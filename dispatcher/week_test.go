package dispatcher

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// The extent of the week. Each room is told of on average once in two hours.
const (
	weekUsers    = 200
	weekRooms    = 20
	weekGateways = 12
	weekDays     = 7
)

// TestG1Week lives through seven days with gateways of every temper, which
// change it every few hours, and a dispatcher that is stopped or killed now and
// then. POKED_SEED repeats one that failed.
func TestG1Week(t *testing.T) {
	eventstest.Soak(t)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("POKED_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	bubble(t, func(t *testing.T, h *house) {
		w := newWeek(h, rand.New(rand.NewPCG(seed, 0)))
		w.live()
		w.check()
		if t.Failed() {
			t.Logf("POKED_SEED=%d", seed)
		}
		t.Logf("%d messages, %d tries, %d pokes, %d dead letters, %d pushkeys refused, %d stops, %d kills",
			w.said, len(h.gateway.Tried()), len(h.gateway.Pokes()), len(h.dead()), len(w.refused), w.stops, w.kills)
	})
}

// week is seven days in a house.
type week struct {
	h    *house
	rand *rand.Rand // of what happens

	mu      sync.Mutex
	lots    *rand.Rand               // of what gateways answer
	tempers map[string]temper        // of hosts
	refused map[string]events.UserID // pushkeys that a gateway refused, and whose they were

	pushkeys map[events.UserID][]string
	hosts    map[string]string // of pushkeys
	members  map[events.RoomID][]events.UserID
	removed  map[string]bool // of those, the ones that the registry has removed

	said, stops, kills int
}

// temper is how a gateway behaves for a while.
type temper int

const (
	well temper = iota
	slow
	failing
	busy // 429 with Retry-After
	refusing
	flapping
	rejecting
	tempers
)

func newWeek(h *house, r *rand.Rand) *week {
	h.server.Pulse, h.alone = time.Minute, true
	h.cfg.CatchUpLimit = 1e6 // nothing is passed over, so that all may be looked for
	w := &week{
		h: h, rand: r, lots: rand.New(rand.NewPCG(r.Uint64(), 0)),
		pushkeys: map[events.UserID][]string{}, hosts: map[string]string{},
		members: map[events.RoomID][]events.UserID{}, tempers: map[string]temper{},
		refused: map[string]events.UserID{}, removed: map[string]bool{},
	}
	h.hosts = nil
	for i := range weekGateways {
		h.hosts = append(h.hosts, fmt.Sprintf("gw%d.test", i))
	}
	for i := range weekUsers {
		user := events.UserID(fmt.Sprintf("@u%d:x", i))
		for k := range 1 + r.IntN(2) {
			key := fmt.Sprintf("u%d-%d", i, k)
			w.pushkeys[user] = append(w.pushkeys[user], key)
			w.hosts[key] = h.hosts[r.IntN(len(h.hosts))]
		}
		w.register(user)
	}
	return w
}

// register tells the dispatcher of a user's pushers that are not removed.
func (w *week) register(user events.UserID) {
	w.h.t.Helper()
	w.h.version++
	set := events.UserPushers{UserID: user, Version: w.h.version}
	for _, key := range w.pushkeys[user] {
		if !w.removed[key] {
			set.Pushers = append(set.Pushers, events.Pusher{
				AppID: "app", Pushkey: key, Kind: "http", PushkeyTS: 1,
				Data: json.RawMessage(`{"url":"http://` + w.hosts[key] + `/_matrix/push/v1/notify"}`),
			})
		}
	}
	if err := w.h.conn.PutPushers(w.h.t.Context(), set); err != nil {
		w.h.t.Fatal(err)
	}
}

func (w *week) live() {
	h := w.h
	h.t.Helper()
	h.gateway.Answer(w.answer)
	h.gateway.Refuse(w.refuses)
	h.start()
	for i := range weekRooms {
		id := events.RoomID(fmt.Sprintf("!r%d", i))
		w.members[id] = []events.UserID{"@alice:x"}
		for u := range weekUsers {
			if w.rand.IntN(weekRooms) < 2 {
				w.members[id] = append(w.members[id], events.UserID(fmt.Sprintf("@u%d:x", u)))
			}
		}
		h.room(id, w.members[id]...)
	}
	for range 24 * (weekDays - 2) {
		w.hour()
	}
	w.setTempers(func(temper) temper { return well })
	<-time.After(h.cfg.PokeTTL + 12*time.Hour) // all is told, or has expired; nothing has left the log yet
	w.removeRefused()
	h.halt()
}

// hour is one hour of the week.
func (w *week) hour() {
	h := w.h
	h.t.Helper()
	w.setTempers(func(now temper) temper {
		if w.rand.IntN(4) == 0 {
			return temper(w.rand.IntN(int(tempers)))
		}
		return now
	})
	for range 3 {
		if w.rand.IntN(3) == 0 {
			room := events.RoomID(fmt.Sprintf("!r%d", w.rand.IntN(weekRooms)))
			burst := 1 + w.rand.IntN(3)
			h.say(room, "@alice:x", w.said, burst)
			w.said += burst
		}
		<-time.After(20 * time.Minute)
	}
	w.removeRefused()
	switch w.rand.IntN(40) {
	case 0:
		w.stops++
		h.halt()
		<-time.After(time.Duration(w.rand.IntN(3600)) * time.Second)
		h.start()
	case 1:
		w.kills++
		h.kill()
		h.start()
	}
}

// setTempers gives every gateway a temper, which may be the one it has.
func (w *week) setTempers(next func(now temper) temper) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, host := range w.h.hosts {
		w.tempers[host] = next(w.tempers[host])
	}
}

func (w *week) refuses(host string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tempers[host] == refusing
}

// answer is what a gateway says, by its temper. What it draws by lot is its own
// affair: how many are asked before it may differ from run to run.
func (w *week) answer(p eventstest.Poke) eventstest.Reply {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.tempers[p.Host] {
	case slow:
		return eventstest.Reply{After: time.Duration(1+w.lots.IntN(60)) * time.Second}
	case failing:
		return eventstest.Reply{Status: http.StatusInternalServerError}
	case busy:
		return eventstest.Reply{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {strconv.Itoa(w.lots.IntN(600))}}}
	case flapping:
		if w.lots.IntN(2) == 0 {
			return eventstest.Reply{Status: http.StatusBadGateway}
		}
	case rejecting:
		if w.lots.IntN(200) == 0 {
			user, _, _ := strings.Cut(p.Pushkey, "-")
			w.refused[p.Pushkey] = events.UserID("@" + user + ":x")
			return eventstest.Reply{Body: `{"rejected":["` + p.Pushkey + `"]}`}
		}
	case well, refusing, tempers:
	}
	return eventstest.Reply{}
}

// removeRefused does what the registry does with rejections.
func (w *week) removeRefused() {
	w.h.t.Helper()
	ctx, cancel := context.WithTimeout(w.h.t.Context(), 10*time.Second)
	defer cancel()
	err := w.h.conn.ConsumeRejections(ctx, func(_ context.Context, r events.Rejection) error {
		w.removed[r.Pushkey] = true
		w.register(r.UserID)
		return nil
	})
	if err != nil {
		w.h.t.Fatal(err)
	}
}

// check looks at everything that was sent.
func (w *week) check() {
	w.h.t.Helper()
	e := w.h.evidence()
	for user, keys := range w.pushkeys {
		keys = slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return w.refused[key] != "" })
		w.h.promiseBy(e, user, w.kills*whileDying, keys...)
	}
	for key := range w.refused {
		if !w.removed[key] {
			w.h.t.Errorf("the registry never heard that %s was refused", key)
		}
	}
	if n := w.h.backlog(); n != 0 {
		w.h.t.Errorf("%d pushers are still written down as lagging", n)
	}
}
