package gateways_test

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

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
)

// The size of the week. Each room has a message once in two hours on average.
const (
	weekUsers    = 200
	weekRooms    = 20
	weekGateways = 12
	weekDays     = 7
)

// TestG1Week runs seven days with gateways whose behaviour changes every few hours, and a
// dispatcher that is stopped or killed now and then. POKED_SEED repeats a run that failed.
func TestG1Week(t *testing.T) {
	eventstest.Soak(t)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("POKED_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	bubble(t, func(t *testing.T, h *harness) {
		w := newWeek(h, rand.New(rand.NewPCG(seed, 0)))
		w.run()
		w.check()
		if t.Failed() {
			t.Logf("POKED_SEED=%d", seed)
		}
		t.Logf("%d messages, %d tries, %d pokes, %d dead letters, %d pushkeys rejected, %d stops, %d kills",
			w.said, len(h.Gateway.Tried()), len(h.Gateway.Pokes()), len(h.Dead()), len(w.refused), w.stops, w.kills)
	})
}

// week is seven days of a dispatcher.
type week struct {
	h    *harness
	rand *rand.Rand // of what happens

	mu         sync.Mutex
	answers    *rand.Rand               // of what gateways answer
	behaviours map[string]behaviour     // of hosts
	refused    map[string]events.UserID // pushkeys that a gateway rejected, and their users

	pushkeys map[events.UserID][]string
	hosts    map[string]string // of pushkeys
	members  map[events.RoomID][]events.UserID
	removed  map[string]bool // pushkeys that the registry has removed

	said, stops, kills int
}

// behaviour is how a gateway answers for some hours.
type behaviour int

const (
	healthy behaviour = iota
	slow
	failing
	busy // 429 with Retry-After
	refusing
	flapping
	rejecting
	behaviours
)

func newWeek(h *harness, r *rand.Rand) *week {
	h.Server.Pulse, h.Alone = time.Minute, true
	h.Config.CatchUpLimit = 1e6 // nothing is passed over, so that every notification is checked
	w := &week{
		h: h, rand: r, answers: rand.New(rand.NewPCG(r.Uint64(), 0)),
		pushkeys: map[events.UserID][]string{}, hosts: map[string]string{},
		members: map[events.RoomID][]events.UserID{}, behaviours: map[string]behaviour{},
		refused: map[string]events.UserID{}, removed: map[string]bool{},
	}
	h.Hosts = nil
	for i := range weekGateways {
		h.Hosts = append(h.Hosts, fmt.Sprintf("gw%d.test", i))
	}
	for i := range weekUsers {
		user := events.UserID(fmt.Sprintf("@u%d:x", i))
		for k := range 1 + r.IntN(2) {
			key := fmt.Sprintf("u%d-%d", i, k)
			w.pushkeys[user] = append(w.pushkeys[user], key)
			w.hosts[key] = h.Hosts[r.IntN(len(h.Hosts))]
		}
		w.register(user)
	}
	return w
}

// register sets a user's pushers that are not removed.
func (w *week) register(user events.UserID) {
	w.h.T.Helper()
	w.h.Version++
	set := events.UserPushers{UserID: user, Version: w.h.Version}
	for _, key := range w.pushkeys[user] {
		if !w.removed[key] {
			set.Pushers = append(set.Pushers, events.Pusher{
				AppID: "app", Pushkey: key, Kind: "http", PushkeyTS: 1,
				Data: json.RawMessage(`{"url":"http://` + w.hosts[key] + `/_matrix/push/v1/notify"}`),
			})
		}
	}
	if err := w.h.Conn.PutPushers(w.h.T.Context(), set); err != nil {
		w.h.T.Fatal(err)
	}
}

func (w *week) run() {
	h := w.h
	h.T.Helper()
	h.Gateway.Answer(w.answer)
	h.Gateway.Refuse(w.refuses)
	h.Start()
	for i := range weekRooms {
		id := events.RoomID(fmt.Sprintf("!r%d", i))
		w.members[id] = []events.UserID{"@alice:x"}
		for u := range weekUsers {
			if w.rand.IntN(weekRooms) < 2 {
				w.members[id] = append(w.members[id], events.UserID(fmt.Sprintf("@u%d:x", u)))
			}
		}
		h.Room(id, w.members[id]...)
	}
	for range 24 * (weekDays - 2) {
		w.hour()
	}
	w.setBehaviours(func(behaviour) behaviour { return healthy })
	<-time.After(h.Config.PokeTTL + 12*time.Hour) // everything is delivered or has expired, and is still in the log
	w.removeRefused()
	h.Halt()
}

// hour is one hour of the week.
func (w *week) hour() {
	h := w.h
	h.T.Helper()
	w.setBehaviours(func(now behaviour) behaviour {
		if w.rand.IntN(4) == 0 {
			return behaviour(w.rand.IntN(int(behaviours)))
		}
		return now
	})
	for range 3 {
		if w.rand.IntN(3) == 0 {
			room := events.RoomID(fmt.Sprintf("!r%d", w.rand.IntN(weekRooms)))
			burst := 1 + w.rand.IntN(3)
			h.Say(room, "@alice:x", w.said, burst)
			w.said += burst
		}
		<-time.After(20 * time.Minute)
	}
	w.removeRefused()
	switch w.rand.IntN(40) {
	case 0:
		w.stops++
		h.Halt()
		<-time.After(time.Duration(w.rand.IntN(3600)) * time.Second)
		h.Start()
	case 1:
		w.kills++
		h.Kill()
		h.Start()
	}
}

// setBehaviours changes the behaviour of every gateway, maybe to the one that it has.
func (w *week) setBehaviours(next func(now behaviour) behaviour) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, host := range w.h.Hosts {
		w.behaviours[host] = next(w.behaviours[host])
	}
}

func (w *week) refuses(host string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.behaviours[host] == refusing
}

// answer answers a poke by the behaviour of its gateway. Its random numbers are not those of
// the week, because the order of pokes may differ from run to run.
func (w *week) answer(p eventstest.Poke) eventstest.Reply {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.behaviours[p.Host] {
	case slow:
		return eventstest.Reply{After: time.Duration(1+w.answers.IntN(60)) * time.Second}
	case failing:
		return eventstest.Reply{Status: http.StatusInternalServerError}
	case busy:
		return eventstest.Reply{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {strconv.Itoa(w.answers.IntN(600))}}}
	case flapping:
		if w.answers.IntN(2) == 0 {
			return eventstest.Reply{Status: http.StatusBadGateway}
		}
	case rejecting:
		if w.answers.IntN(200) == 0 {
			user, _, _ := strings.Cut(p.Pushkey, "-")
			w.refused[p.Pushkey] = events.UserID("@" + user + ":x")
			return eventstest.Reply{Body: `{"rejected":["` + p.Pushkey + `"]}`}
		}
	case healthy, refusing, behaviours:
	}
	return eventstest.Reply{}
}

// removeRefused removes rejected pushkeys as the registry does.
func (w *week) removeRefused() {
	w.h.T.Helper()
	ctx, cancel := context.WithTimeout(w.h.T.Context(), 10*time.Second)
	defer cancel()
	err := w.h.Conn.ConsumeRejections(ctx, func(_ context.Context, r events.Rejection) error {
		w.removed[r.Pushkey] = true
		w.register(r.UserID)
		return nil
	})
	if err != nil {
		w.h.T.Fatal(err)
	}
}

// check checks every poke.
func (w *week) check() {
	w.h.T.Helper()
	e := w.h.Results()
	for user, keys := range w.pushkeys {
		keys = slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return w.refused[key] != "" })
		w.h.CheckResults(e, user, w.kills*dispatchertest.RepeatsOfKill, keys...)
	}
	for key := range w.refused {
		if !w.removed[key] {
			w.h.T.Errorf("the rejection of %s was not published", key)
		}
	}
	if n := w.h.Backlog(); n != 0 {
		w.h.T.Errorf("%d pushers still have a record", n)
	}
}
