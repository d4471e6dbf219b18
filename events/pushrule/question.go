package pushrule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Question is everything that an evaluation depends on: rules, an event in its room, and the user.
type Question struct {
	// Rules are the rules to evaluate. A question about one condition or one rule has a ruleset with only that.
	Rules Ruleset
	// IsWhole reports whether the question is about a whole ruleset.
	IsWhole bool
	Event   *Event
	User    User
}

// PredefinedName is the value of "ruleset" that means the predefined rules.
const PredefinedName = "spec-v1.19-defaults"

// ParseQuestion reads a question from its JSON:
//
//	{"ruleset": {…} or "spec-v1.19-defaults", or "condition": {…}, or "rule": {…} with "kind": "override",
//	 "event": {…},
//	 "context": {"user_id", "display_name", "room_member_count", "room_version", "room_creators": [ids],
//	             "sender_power_levels": {"users", "users_default", "invite", "kick", "ban", "redact"}, "notification_levels": {"room"},
//	             "thread_subscription": true or false, "related_events": {relation type: event}}}
//
// Every member of the context may be missing. An unknown member of the context is an error; other unknown members are
// ignored. Errors quote nothing of the event.
func ParseQuestion(data []byte) (*Question, error) {
	var source questionJSON
	if err := json.Unmarshal(data, &source); err != nil {
		return nil, plainError(err)
	}
	if !isObject(source.Event) {
		return nil, errors.New("event is not an object")
	}
	context, err := parseContext(source.Context)
	if err != nil {
		return nil, fmt.Errorf("context: %w", err)
	}
	q := &Question{Event: context.event(source.Event), User: context.user()}
	if err := source.rules(q); err != nil {
		return nil, err
	}
	return q, nil
}

type questionJSON struct {
	Kind      Kind            `json:"kind"`
	Rule      json.RawMessage `json:"rule"`
	Ruleset   json.RawMessage `json:"ruleset"`
	Condition json.RawMessage `json:"condition"`
	Event     json.RawMessage `json:"event"`
	Context   json.RawMessage `json:"context"`
}

func (s *questionJSON) rules(q *Question) error {
	given := 0
	for _, part := range []json.RawMessage{s.Ruleset, s.Rule, s.Condition} {
		if part != nil {
			given++
		}
	}
	switch {
	case given != 1:
		return errors.New("exactly one of ruleset, rule and condition is needed")
	case s.Condition != nil:
		condition := Condition(compact(string(s.Condition)))
		q.Rules.Override = []Rule{{ID: "condition", Enabled: true, Conditions: []Condition{condition}}}
		return nil
	case s.Rule != nil:
		return s.oneRule(q)
	}
	q.IsWhole = true
	if string(s.Ruleset) == quote(PredefinedName) {
		q.Rules = Predefined(q.User.ID)
		return nil
	}
	if !isObject(s.Ruleset) {
		return fmt.Errorf("ruleset is neither an object nor %q", PredefinedName)
	}
	return q.Rules.UnmarshalJSON(s.Ruleset)
}

func (s *questionJSON) oneRule(q *Question) error {
	lists := map[Kind]*[]Rule{
		KindOverride: &q.Rules.Override, KindContent: &q.Rules.Content, KindPostContent: &q.Rules.PostContent,
		KindRoom: &q.Rules.Room, KindSender: &q.Rules.Sender, KindUnderride: &q.Rules.Underride,
	}
	list, ok := lists[s.Kind]
	switch {
	case s.Kind == "":
		return errors.New("a rule needs its kind")
	case !ok:
		return nil // rules of an unknown kind match nothing
	}
	*list = make([]Rule, 1)
	return (*list)[0].UnmarshalJSON(s.Rule)
}

// questionContext is the state of the room and of the user.
type questionContext struct {
	UserID             string                     `json:"user_id"`
	DisplayName        string                     `json:"display_name"`
	MemberCount        int                        `json:"room_member_count"`
	SenderPowerLevels  map[string]json.RawMessage `json:"sender_power_levels"`
	NotificationLevels json.RawMessage            `json:"notification_levels"`
	RoomVersion        string                     `json:"room_version"`
	RoomCreators       []string                   `json:"room_creators"`
	ThreadSubscription *bool                      `json:"thread_subscription"`
	RelatedEvents      map[string]json.RawMessage `json:"related_events"`
}

func parseContext(data json.RawMessage) (c questionContext, err error) {
	if data == nil {
		return c, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return c, plainError(err)
	}
	return c, nil
}

// event returns the event in its room, with its relations.
func (c *questionContext) event(raw json.RawMessage) *Event {
	ev := NewEvent(raw, Room{})
	ev.room = c.room(ev.sender)
	for relType, related := range c.RelatedEvents {
		ev.Relate(relType, NewEvent(related, Room{}))
	}
	if c.ThreadSubscription != nil {
		ev.InThread(func(string) bool { return *c.ThreadSubscription })
	}
	return ev
}

func (c *questionContext) room(sender string) Room {
	levels := map[string]json.RawMessage{}
	for name, value := range c.SenderPowerLevels {
		levels[name] = value
	}
	if c.NotificationLevels != nil {
		levels["notifications"] = c.NotificationLevels
	}
	content, _ := json.Marshal(levels) // never fails for raw JSON
	power := ParsePowerLevels(content)
	return Room{
		MemberCount:        c.MemberCount,
		SenderLevel:        power.Of(sender),
		SenderIsCreator:    hasMightyCreators(c.RoomVersion) && slices.Contains(c.RoomCreators, sender),
		NotificationLevels: power.Notifications,
		Levels:             &power,
		LevelOf: func(user string) (level int64, unlimited bool) {
			return power.Of(user), hasMightyCreators(c.RoomVersion) && slices.Contains(c.RoomCreators, user)
		},
	}
}

// hasMightyCreators reports whether creators have unlimited power in this room version: from 12 on.
func hasMightyCreators(version string) bool {
	return !slices.Contains([]string{"", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"}, version)
}

func (c *questionContext) user() User {
	return User{ID: c.UserID, DisplayName: c.DisplayName}
}

func isObject(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '{' }

// plainError describes an error in JSON without quoting any of it.
func plainError(err error) error {
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON from byte %d on", syntax.Offset)
	case errors.As(err, &mistyped) && mistyped.Field == "":
		return errNotObject
	case errors.As(err, &mistyped):
		return fmt.Errorf("%s has the wrong type", mistyped.Field)
	}
	return errors.New("has a member that is not known")
}
