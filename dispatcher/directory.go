package dispatcher

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"poked/events"
	"poked/events/pushgateway"
)

// pusher is one registered pusher, ready to be poked. It never changes: a
// pusher that is set again is a new value with the same id.
type pusher struct {
	id        events.PusherID
	user      events.UserID
	appID     string
	pushkey   string
	pushkeyTS int64
	data      []byte // without url
	url       *pushgateway.URL
	refused   error // why url is none that may be poked; then url is nil
	eventOnly bool  // data.format is event_id_only
	noBadge   bool  // data asks for no counts (MSC4076)
}

// origin names the pusher's gateway.
func (p *pusher) origin() string {
	if p.url == nil {
		return "refused"
	}
	return p.url.Origin()
}

// same says whether nothing has changed between two values of a pusher.
func (p *pusher) same(q *pusher) bool {
	return p.id == q.id && p.pushkeyTS == q.pushkeyTS && p.origin() == q.origin() && bytes.Equal(p.data, q.data)
}

func newPusher(user events.UserID, p *events.Pusher, policy *pushgateway.Policy) *pusher {
	ready := &pusher{
		id: events.NewPusherID(user, p.AppID, p.Pushkey), user: user,
		appID: p.AppID, pushkey: p.Pushkey, pushkeyTS: p.PushkeyTS,
	}
	var data struct {
		URL     string `json:"url"`
		Format  string `json:"format"`
		NoBadge bool   `json:"org.matrix.msc4076.disable_badge_count"`
	}
	// A member of another type than ours is the app's own business.
	_ = json.Unmarshal(p.Data, &data)
	ready.eventOnly, ready.noBadge = data.Format == "event_id_only", data.NoBadge
	if ready.url, ready.refused = policy.CheckURL(data.URL); ready.refused != nil {
		ready.url = nil
	}
	if stripped, err := pushgateway.StripURL(p.Data); err == nil {
		ready.data = stripped
	}
	return ready
}

// directory knows every user's pushers. The registry's bucket feeds it; match
// asks it who is worth a notification, deliver whom to poke.
type directory struct {
	policy *pushgateway.Policy
	log    *slog.Logger
	// changed is called after a user's pushers have changed, from the goroutine
	// that feeds the directory.
	changed func(events.UserID, []*pusher)

	// generation grows when a user gains their first pusher or loses their
	// last: what rooms remember of who has any is then out of date.
	generation atomic.Uint64

	mu    sync.RWMutex
	users map[events.UserID][]*pusher // never an empty slice
}

func newDirectory(policy *pushgateway.Policy, log *slog.Logger) *directory {
	return &directory{
		policy: policy, log: log, changed: func(events.UserID, []*pusher) {},
		users: map[events.UserID][]*pusher{},
	}
}

// apply takes in a user's pushers as the registry publishes them.
func (d *directory) apply(set events.UserPushers) {
	before := d.pushers(set.UserID)
	pushers := make([]*pusher, 0, len(set.Pushers))
	for i := range set.Pushers {
		p := newPusher(set.UserID, &set.Pushers[i], d.policy)
		if i := slices.IndexFunc(before, p.same); i >= 0 {
			pushers = append(pushers, before[i])
			continue
		}
		if p.refused != nil {
			d.log.Warn("pusher cannot be poked", "user_id", p.user, "app_id", p.appID, "pusher", p.id, "error", p.refused)
		}
		pushers = append(pushers, p)
	}
	had := len(before) > 0
	d.mu.Lock()
	if len(pushers) > 0 {
		d.users[set.UserID] = pushers
	} else {
		delete(d.users, set.UserID)
	}
	d.mu.Unlock()
	if had != (len(pushers) > 0) {
		d.generation.Add(1)
	}
	d.changed(set.UserID, pushers)
}

// pushers returns a user's pushers. The slice must not be changed.
func (d *directory) pushers(user events.UserID) []*pusher {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.users[user]
}

// hasAny appends to dst the users of the sequence that have a pusher.
func (d *directory) hasAny(dst []*member, members map[events.UserID]*member) []*member {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for id, m := range members {
		if len(d.users[id]) > 0 {
			dst = append(dst, m)
		}
	}
	return dst
}

// size returns how many users have pushers.
func (d *directory) size() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.users)
}
