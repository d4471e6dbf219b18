package directory

import (
	"slices"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/pushgateway"
)

// check checks what the directory returns for every user. It never goes back to an
// earlier value; and if current is set, it is what the bucket holds.
func (s *simulation) check(current bool) {
	s.t.Helper()
	for i := range simulatedUsers {
		user := someUser(i)
		got := s.dir.Pushers(user)
		for _, p := range got {
			if uint64(p.PushkeyTS) < s.known[user] {
				s.t.Fatalf("%s went back from revision %d to %d", user, s.known[user], p.PushkeyTS)
			}
			s.known[user] = uint64(p.PushkeyTS)
		}
		if current {
			s.checkUser(user, got)
		}
	}
}

func (s *simulation) checkUser(user events.UserID, got []*Pusher) {
	s.t.Helper()
	var want []*Pusher
	var handles []string
	if revision := s.newest[user]; revision > 0 {
		for _, p := range s.history[revision-1].Pushers {
			if !p.Disabled {
				want = append(want, plainPusher(user, &p, s.dir.templates.policy))
				handles = append(handles, p.InstanceHandle)
			}
		}
	}
	if s.dir.Has(user) != (len(want) > 0) {
		s.t.Fatalf("%s has pushers: %t, want %d", user, s.dir.Has(user), len(want))
	}
	found := s.dir.Handles(user)
	slices.Sort(found)
	slices.Sort(handles)
	if !slices.Equal(slices.Compact(found), slices.Compact(handles)) {
		s.t.Fatalf("%s has handles %q, want %q", user, found, handles)
	}
	if !s.ours[partOf(user)] {
		want = nil
	}
	same := func(p, q *Pusher) bool {
		return p.Same(q) && p.User == q.User && p.AppID == q.AppID && p.Pushkey == q.Pushkey && p.EventOnly == q.EventOnly &&
			p.NoBadge == q.NoBadge && p.NamesUser == q.NamesUser && p.Avatar == q.Avatar && (p.Refused == nil) == (q.Refused == nil) && (p.Data == nil) == (q.Data == nil)
	}
	if !slices.EqualFunc(got, want, same) {
		s.t.Fatalf("%s has %+v, want %+v", user, got, want)
	}
}

// plainPusher makes the pusher that deliver needs, without any encoding.
func plainPusher(user events.UserID, p *events.Pusher, policy *pushgateway.Policy) *Pusher {
	plain := &Pusher{
		ID: events.NewPusherID(user, p.AppID, p.Pushkey), User: user,
		AppID: p.AppID, Pushkey: p.Pushkey, PushkeyTS: p.PushkeyTS, Handle: p.InstanceHandle,
	}
	plain.EventOnly = gjson.GetBytes(p.Data, "format").Str == "event_id_only"
	plain.NamesUser, plain.Avatar = gjson.GetBytes(p.Data, `poked\.user_id`).Bool(), gjson.GetBytes(p.Data, `poked\.room_avatar`).Bool()
	if plain.URL, plain.Refused = policy.CheckURL(gjson.GetBytes(p.Data, "url").Str); plain.Refused != nil {
		plain.URL = nil
	}
	plain.Data, _ = pushgateway.StripURL(p.Data)
	return plain
}
