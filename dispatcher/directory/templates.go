package directory

import (
	"encoding/json"
	"hash/maphash"
	"math"
	"time"

	"poked/events"
	"poked/events/pushgateway"
	"poked/events/webpush"
)

// template is what several pushers have in common: the app, the gateway and, unless each
// pusher has its own, the data. Most pushers of a server share a few templates.
type template struct {
	key       templateKey
	pushers   int // that use it
	url       *pushgateway.URL
	refused   error  // why the policy forbids poking the URL; then url is nil
	data      []byte // without url; nil if there is none, or each pusher has its own
	eventOnly bool   // data.format is event_id_only
	noBadge   bool   // data asks for no counts (MSC4076)
	ttl       time.Duration
	cleared   bool // data asks for pokes about what was read elsewhere ("poked.cleared")
	namesUser bool // data asks for the user's id in each poke ("poked.user_id")
	avatar    bool // data asks for the room's avatar ("poked.room_avatar")
}

// templateKey identifies a template: by all of data as the client set it or, if its
// pushers have data of their own, by the fields of data that concern us.
type templateKey struct {
	appID  string
	data   string
	own    bool
	web    bool // its pushers are browsers, which have all of data of their own
	fields dataFields
}

// dataFields are the fields of a pusher's data that concern us; the rest is between the
// client and its gateway.
type dataFields struct {
	URL       string `json:"url"`
	Format    string `json:"format"`
	NoBadge   bool   `json:"org.matrix.msc4076.disable_badge_count"`
	TTL       int64  `json:"poked.ttl"` // in seconds
	Cleared   bool   `json:"poked.cleared"`
	NamesUser bool   `json:"poked.user_id"`
	Avatar    bool   `json:"poked.room_avatar"`
}

// ttl returns the time to live, or 0 if data has none that makes sense.
func (f dataFields) ttl() time.Duration {
	if f.TTL <= 0 || f.TTL > math.MaxInt64/int64(time.Second) {
		return 0
	}
	return time.Duration(f.TTL) * time.Second
}

// eventIDOnly is the format of pushers that receive no more than an event's id.
const eventIDOnly = "event_id_only"

// templates holds the templates of all pushers, by number. The directory's mutex guards
// it.
type templates struct {
	policy *pushgateway.Policy
	byKey  map[templateKey]int
	all    []*template // nil where a number is free
	free   []int

	// seen holds hashes of data that one pusher had: when a second pusher has the same,
	// it is worth a template. A hash is overwritten soon, so rare data is forgotten.
	seed maphash.Seed
	seen [4096]uint64
}

func newTemplates(policy *pushgateway.Policy) *templates {
	return &templates{policy: policy, byKey: map[templateKey]int{}, seed: maphash.MakeSeed()}
}

// acquire returns the number of the template for a pusher, which counts as its user, and
// the pusher's data without url if the template does not hold that.
func (t *templates) acquire(p *events.Pusher) (number int, own []byte) {
	if p.IsWebPush() { // the URL of each is its own
		return t.acquireKey(templateKey{appID: p.AppID, own: true, web: true}, nil), p.Data
	}
	if number, ok := t.byKey[templateKey{appID: p.AppID, data: string(p.Data)}]; ok {
		t.all[number].pushers++
		return number, nil
	}
	stripped, err := pushgateway.StripURL(p.Data)
	if err != nil {
		stripped = nil
	}
	var read struct {
		dataFields

		Stable bool `json:"disable_badge_count"`
	}
	// A field of another type than ours is the app's own.
	_ = json.Unmarshal(p.Data, &read)
	fields := read.dataFields
	fields.NoBadge = fields.NoBadge || read.Stable
	if fields.Format != eventIDOnly {
		fields.Format = ""
	}
	key := templateKey{appID: p.AppID, own: true, fields: fields}
	if stripped != nil && !t.seenBefore(p) {
		return t.acquireKey(key, nil), stripped
	}
	key.own, key.data = false, string(p.Data)
	return t.acquireKey(key, stripped), nil
}

// seenBefore reports whether another pusher had the same data lately.
func (t *templates) seenBefore(p *events.Pusher) bool {
	hash := maphash.Comparable(t.seed, [2]string{p.AppID, string(p.Data)})
	last := &t.seen[hash%uint64(len(t.seen))]
	known := *last == hash
	*last = hash
	return known
}

// acquireKey returns the number of the template with a key, and makes it if there is none.
func (t *templates) acquireKey(key templateKey, data []byte) int {
	fields := key.fields
	if !key.own {
		key.fields = dataFields{} // key.data implies them
	}
	number, ok := t.byKey[key]
	if !ok {
		made := &template{
			key: key, data: data, eventOnly: fields.Format == eventIDOnly, noBadge: fields.NoBadge, ttl: fields.ttl(), cleared: fields.Cleared,
			namesUser: fields.NamesUser, avatar: fields.Avatar,
		}
		if key.web {
			made.url = nil
		} else if made.url, made.refused = t.policy.CheckURL(fields.URL); made.refused != nil {
			made.url = nil
		}
		number = t.add(made)
	}
	t.all[number].pushers++
	return number
}

func (t *templates) add(made *template) (number int) {
	if last := len(t.free) - 1; last >= 0 {
		number = t.free[last]
		t.free = t.free[:last]
		t.all[number] = made
	} else {
		number = len(t.all)
		t.all = append(t.all, made)
	}
	t.byKey[made.key] = number
	return number
}

// browserFields are the fields of a browser's data that concern us.
type browserFields struct {
	dataFields

	Auth        string `json:"auth"`
	NoBadgeToo  bool   `json:"disable_badge_count"`
	LastPerRoom bool   `json:"only_last_per_room"`
	EventsOnly  bool   `json:"events_only"`
}

// setBrowser sets what a browser's pusher has of its data.
func (t *templates) setBrowser(p *Pusher, data []byte) {
	var read browserFields
	_ = json.Unmarshal(data, &read) // a field of another type than ours is the app's own
	p.EventOnly, p.NoBadge, p.TTL, p.Cleared = read.Format == eventIDOnly, read.NoBadge || read.NoBadgeToo, read.ttl(), read.Cleared
	p.NamesUser, p.Avatar = read.NamesUser, read.Avatar
	if p.Data, p.Refused = pushgateway.StripBrowser(data); p.Refused != nil {
		return
	}
	url, err := t.policy.CheckResource(read.URL)
	if p.Refused = err; err != nil {
		return
	}
	subscription, err := webpush.ParseSubscription(p.Pushkey, read.Auth)
	if p.Refused = err; err != nil {
		return
	}
	p.URL = url
	p.Web = &Browser{Subscription: subscription, LastPerRoom: read.LastPerRoom, EventsOnly: read.EventsOnly}
}

// release ends one pusher's use of a template. A template that no pusher uses is
// forgotten.
func (t *templates) release(number int) {
	used := t.all[number]
	if used.pushers--; used.pushers == 0 {
		delete(t.byKey, used.key)
		t.all[number] = nil
		t.free = append(t.free, number)
	}
}
