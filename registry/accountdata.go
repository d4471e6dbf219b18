package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"poked/events"
	"poked/events/pushrule"
	"poked/registry/request"
	"poked/registry/store"
)

// Limits of account data, in bytes as JSON; see store.MaxRulesBytes.
const (
	maxPublishedBytes = 384 << 10 // the homeserver's ruleset
	maxIgnoredBytes   = 192 << 10 // the list of ignored users
	maxQuietBytes     = 24 << 10  // where the user wants no pokes
)

// takePublished stores the account data m.push_rules. Without "global" the homeserver
// does not keep the user's rules, or no longer does.
func takePublished(ctx context.Context, s *store.Store, user events.UserID, content json.RawMessage) error {
	global, err := member(content, "global")
	if err != nil {
		return err
	}
	if global == nil {
		return s.SetPublished(ctx, user, nil)
	}
	var rules pushrule.Ruleset
	if err := json.Unmarshal(global, &rules); err != nil {
		return fmt.Errorf("%w: m.push_rules: global is no JSON object", events.ErrBadEvent)
	}
	if encoded, err := json.Marshal(rules); err != nil || len(encoded) > maxPublishedBytes {
		return fmt.Errorf("%w: m.push_rules has more than %d bytes", events.ErrBadEvent, maxPublishedBytes)
	}
	return s.SetPublished(ctx, user, &rules)
}

// takeIgnored stores the account data m.ignored_user_list. Keys that are not user ids
// match nobody and are dropped.
func takeIgnored(ctx context.Context, s *store.Store, user events.UserID, content json.RawMessage) error {
	list, err := member(content, "ignored_users")
	if err != nil {
		return err
	}
	var users map[events.UserID]json.RawMessage
	if list != nil && json.Unmarshal(list, &users) != nil {
		return fmt.Errorf("%w: m.ignored_user_list: ignored_users is no JSON object", events.ErrBadEvent)
	}
	maps.DeleteFunc(users, func(user events.UserID, _ json.RawMessage) bool { return !user.Valid() })
	ignored := slices.Sorted(maps.Keys(users))
	if encoded, err := json.Marshal(ignored); err != nil || len(encoded) > maxIgnoredBytes {
		return fmt.Errorf("%w: m.ignored_user_list has more than %d bytes", events.ErrBadEvent, maxIgnoredBytes)
	}
	return s.SetIgnored(ctx, user, ignored)
}

// highlightsKey is the key of m.do_not_disturb by which a user hears of highlights all the same. The
// proposal has none for that.
const highlightsKey = "poked.highlights"

// takeDoNotDisturb stores the account data m.do_not_disturb, unless it is not in use
// (--do-not-disturb). Keys of rooms that are no room ids match no room and are dropped.
func takeDoNotDisturb(ctx context.Context, s *store.Store, user events.UserID, content json.RawMessage) error {
	if !s.Options().DoNotDisturb {
		return nil
	}
	list, err := member(content, "rooms")
	if err != nil {
		return err
	}
	var rooms map[events.RoomID]json.RawMessage
	if list != nil && json.Unmarshal(list, &rooms) != nil {
		return fmt.Errorf("%w: m.do_not_disturb: rooms is no JSON object", events.ErrBadEvent)
	}
	maps.DeleteFunc(rooms, func(room events.RoomID, _ json.RawMessage) bool {
		return room != events.EveryRoom && (!events.IsID(room) || room[0] != '!')
	})
	if len(rooms) == 0 {
		return s.SetDoNotDisturb(ctx, user, nil)
	}
	highlights, err := member(content, highlightsKey)
	if err != nil {
		return err
	}
	quiet := &events.DoNotDisturb{Rooms: slices.Sorted(maps.Keys(rooms)), Highlights: string(highlights) == "true"}
	if encoded, err := json.Marshal(quiet); err != nil || len(encoded) > maxQuietBytes {
		return fmt.Errorf("%w: m.do_not_disturb has more than %d bytes", events.ErrBadEvent, maxQuietBytes)
	}
	return s.SetDoNotDisturb(ctx, user, quiet)
}

// member returns the value of a key in account data, or nil if the key or the whole
// account data is absent or null.
func member(content json.RawMessage, key string) (json.RawMessage, error) {
	if len(content) == 0 || request.IsNull(content) {
		return nil, nil
	}
	object, err := request.ParseObject(content)
	if err == nil {
		err = events.CheckJSON(content) // tweaks of rules go to push gateways
	}
	if err != nil {
		return nil, fmt.Errorf("%w: account data %w", events.ErrBadEvent, err)
	}
	if request.IsNull(object[key]) {
		return nil, nil
	}
	return object[key], nil
}
