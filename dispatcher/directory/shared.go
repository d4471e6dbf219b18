package directory

import (
	"encoding/json"
	"hash/maphash"

	"poked/events"
	"poked/events/pushgateway"
)

// template is what pushers have in common: the app, the gateway and, if it is not
// one pusher's own, the data. Most pushers are of a few kinds.
type template struct {
	key       templateKey
	pushers   int // of this kind
	url       *pushgateway.URL
	refused   error  // why url is none that may be poked; then url is nil
	data      []byte // without url; nil if there is none, or each pusher has its own
	eventOnly bool   // data.format is event_id_only
	noBadge   bool   // data asks for no counts (MSC4076)
}

// templateKey tells kinds apart: by all of data as the client set it or, of those
// whose pushers have data of their own, by what data says to us.
type templateKey struct {
	appID string
	data  string
	own   bool
	says  dataSays
}

// dataSays is what a pusher's data says to us; the rest is the app's business.
type dataSays struct {
	URL     string `json:"url"`
	Format  string `json:"format"`
	NoBadge bool   `json:"org.matrix.msc4076.disable_badge_count"`
}

// templates is the kinds of all pushers, by number. The directory's mutex guards it.
type templates struct {
	policy *pushgateway.Policy
	byKey  map[templateKey]int
	all    []*template // nil where a number is free
	free   []int

	// seen is the hashes of data that one pusher had: when a second one has it, it
	// is worth a kind. What few have is forgotten soon.
	seed maphash.Seed
	seen [4096]uint64
}

func newTemplates(policy *pushgateway.Policy) *templates {
	return &templates{policy: policy, byKey: map[templateKey]int{}, seed: maphash.MakeSeed()}
}

// take returns the number of a pusher's kind, which has one more pusher then,
// and the pusher's data without url if that does not belong to the kind.
func (k *templates) take(p *events.Pusher) (number int, own []byte) {
	if number, ok := k.byKey[templateKey{appID: p.AppID, data: string(p.Data)}]; ok {
		k.all[number].pushers++
		return number, nil
	}
	stripped, err := pushgateway.StripURL(p.Data)
	if err != nil {
		stripped = nil
	}
	var says dataSays
	// A member of another type than ours is the app's own business.
	_ = json.Unmarshal(p.Data, &says)
	key := templateKey{appID: p.AppID, own: true, says: dataSays{says.URL, "", says.NoBadge}}
	if says.Format == eventIDOnly {
		key.says.Format = eventIDOnly
	}
	if stripped != nil && !k.again(p) {
		return k.takeKey(key, nil), stripped
	}
	key.own, key.data = false, string(p.Data)
	return k.takeKey(key, stripped), nil
}

// eventIDOnly is the format of pushers that are told no more than an event's id.
const eventIDOnly = "event_id_only"

// again says whether another pusher had the same data lately.
func (k *templates) again(p *events.Pusher) bool {
	hash := maphash.Comparable(k.seed, [2]string{p.AppID, string(p.Data)})
	last := &k.seen[hash%uint64(len(k.seen))]
	known := *last == hash
	*last = hash
	return known
}

// takeKey returns the number of the kind with a key, which is made if there is
// none yet.
func (k *templates) takeKey(key templateKey, data []byte) int {
	says := key.says
	if !key.own {
		key.says = dataSays{} // data says it
	}
	number, ok := k.byKey[key]
	if !ok {
		made := &template{key: key, data: data, eventOnly: says.Format == eventIDOnly, noBadge: says.NoBadge}
		if made.url, made.refused = k.policy.CheckURL(says.URL); made.refused != nil {
			made.url = nil
		}
		number = k.add(made)
	}
	k.all[number].pushers++
	return number
}

func (k *templates) add(made *template) (number int) {
	if last := len(k.free) - 1; last >= 0 {
		number = k.free[last]
		k.free = k.free[:last]
		k.all[number] = made
	} else {
		number = len(k.all)
		k.all = append(k.all, made)
	}
	k.byKey[made.key] = number
	return number
}

// release has a kind have one pusher less. One without any is forgotten.
func (k *templates) release(number int) {
	kind := k.all[number]
	if kind.pushers--; kind.pushers == 0 {
		delete(k.byKey, kind.key)
		k.all[number] = nil
		k.free = append(k.free, number)
	}
}
