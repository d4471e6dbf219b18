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
	"poked/events/pushrule"
)

// pusher is one registered pusher, ready to be poked. It never changes: a
// pusher that is set again is a new value with the same id.
type pusher struct {
	id        events.PusherID
	user      events.UserID
	appID     string
	pushkey   string
	pushkeyTS int64
	handle    string // instance handle, by which push rules of its own are found
	data      []byte // without url
	url       *pushgateway.URL
	refused   error // why url is none that may be poked; then url is nil
	eventOnly bool  // data.format is event_id_only
	noBadge   bool  // data asks for no counts (MSC4076)
}

// refusedOrigin stands for the gateway of pushers that may not be poked.
const refusedOrigin = "refused"

// origin names the pusher's gateway.
func (p *pusher) origin() string {
	if p.url == nil {
		return refusedOrigin
	}
	return p.url.Origin()
}

// hears says whether a notification of its user's is for the pusher: not one that
// is for other devices, or that is told again to one pusher alone.
func (p *pusher) hears(n *events.Notification) bool {
	return (n.Only == "" || n.Only == p.id) && n.Reaches(p.handle)
}

// same says whether nothing has changed between two values of a pusher.
func (p *pusher) same(q *pusher) bool {
	return p.id == q.id && p.pushkeyTS == q.pushkeyTS && p.handle == q.handle && p.origin() == q.origin() && bytes.Equal(p.data, q.data)
}

func newPusher(user events.UserID, p *events.Pusher, policy *pushgateway.Policy) *pusher {
	ready := &pusher{
		id: events.NewPusherID(user, p.AppID, p.Pushkey), user: user,
		appID: p.AppID, pushkey: p.Pushkey, pushkeyTS: p.PushkeyTS, handle: p.InstanceHandle,
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

// directory knows every user's pushers and push rules. The registry's buckets
// feed it; match asks it who is worth a notification and what they want to hear,
// deliver whom to poke.
type directory struct {
	policy *pushgateway.Policy
	log    *slog.Logger
	// changed is called after a user's pushers have changed, from the goroutine
	// that feeds them to the directory.
	changed func(events.UserID, []*pusher)
	// compiled is shared by users who have the same rules.
	compiled *pushrule.Cache

	// generation is how many changes there have been: it grows when a user gains
	// their first pusher, loses their last, or has a pusher and other rules. What
	// rooms remember is then to be brought up to date.
	generation atomic.Uint64

	mu      sync.RWMutex
	users   map[events.UserID][]*pusher  // never an empty slice
	former  map[events.UserID]struct{}   // who had pushers once: their logs may hold something
	rules   map[events.UserID]*userRules // never nil
	changes changes
}

func newDirectory(policy *pushgateway.Policy, log *slog.Logger) *directory {
	return &directory{
		policy: policy, log: log, changed: func(events.UserID, []*pusher) {}, compiled: pushrule.NewCache(),
		users: map[events.UserID][]*pusher{}, former: map[events.UserID]struct{}{}, rules: map[events.UserID]*userRules{},
	}
}

// apply takes in a user's pushers as the registry publishes them. One that is
// disabled is as if it were not there.
func (d *directory) apply(set events.UserPushers) {
	before := d.pushers(set.UserID)
	pushers := make([]*pusher, 0, len(set.Pushers))
	for i := range set.Pushers {
		if set.Pushers[i].Disabled {
			continue
		}
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
	d.mu.Lock()
	if len(pushers) > 0 {
		d.users[set.UserID] = pushers
		delete(d.former, set.UserID)
	} else {
		delete(d.users, set.UserID)
		d.former[set.UserID] = struct{}{}
	}
	if len(before) > 0 != (len(pushers) > 0) {
		d.note(set.UserID)
	}
	d.mu.Unlock()
	d.changed(set.UserID, pushers)
}

// applyRules takes in a user's push rules as the registry publishes them.
func (d *directory) applyRules(set events.UserPushRules) {
	rules := newUserRules(&set, d.compiled)
	d.mu.Lock()
	defer d.mu.Unlock()
	if rules.equal(d.rules[set.UserID]) {
		return
	}
	if rules != nil {
		d.rules[set.UserID] = rules
	} else {
		delete(d.rules, set.UserID)
	}
	if len(d.users[set.UserID]) > 0 {
		d.note(set.UserID)
	}
}

// note remembers that a user changed in the eyes of rooms. The caller holds the
// mutex.
func (d *directory) note(user events.UserID) {
	d.changes.add(user)
	d.generation.Store(d.changes.count)
}

// pushers returns a user's pushers. The slice must not be changed.
func (d *directory) pushers(user events.UserID) []*pusher {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.users[user]
}

// knows says whether a user has pushers or had some: then there may be something
// in their log that they can read.
func (d *directory) knows(user events.UserID) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, former := d.former[user]
	return former || len(d.users[user]) > 0
}

// hears returns a user's rules, and whether they have a pusher to hear by.
func (d *directory) hears(user events.UserID) (rules *userRules, can bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.rules[user], len(d.users[user]) > 0
}

// sizes returns how many users have pushers, and how many have push rules of
// their own.
func (d *directory) sizes() (pushers, rules int) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.users), len(d.rules)
}
