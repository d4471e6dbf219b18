package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"poked/events"
	"poked/events/pushrule"
	"poked/events/stream"
)

// Rules are the push rules of a user, as they are in effect.
type Rules struct {
	UserID  events.UserID               `json:"user_id"`
	Origin  string                      `json:"origin"` // homeserver, registry or predefined
	Changed time.Time                   `json:"changed,omitzero"`
	Version int64                       `json:"version,omitempty"`
	Rules   pushrule.Ruleset            `json:"rules"`             // for all devices
	Devices map[string]pushrule.Ruleset `json:"devices,omitempty"` // rules of single devices, by instance handle
	Ignored []events.UserID             `json:"ignored_users,omitempty"`
	Quiet   *events.DoNotDisturb        `json:"do_not_disturb,omitempty"`
}

// RulesOf returns the push rules of a user. The connection must have joined the streams.
func RulesOf(ctx context.Context, conn *stream.Conn, user events.UserID) (*Rules, error) {
	set, changed, err := conn.PushRulesOfUser(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("look up push rules: %w", err)
	}
	offers, err := conn.OfferedRules(ctx)
	if err != nil {
		return nil, fmt.Errorf("look up offered rules: %w", err)
	}
	global := set.Global()
	return &Rules{
		UserID: user, Origin: originOf(&set), Changed: changed, Version: set.Version, Rules: global.Offering(offers),
		Devices: set.Devices, Ignored: set.IgnoredUsers, Quiet: set.DoNotDisturb,
	}, nil
}

func originOf(set *events.UserPushRules) string {
	switch {
	case set.Published != nil:
		return "homeserver"
	case !set.Changes.IsZero():
		return "registry"
	}
	return "predefined"
}

// Because says where the rules come from.
func (r *Rules) Because() string {
	text := map[string]string{
		"homeserver": "as the homeserver published them, completed with predefined rules that they lack",
		"registry":   "the predefined rules with the user's changes",
		"predefined": "the predefined rules: the user has changed nothing",
	}[r.Origin]
	if !r.Changed.IsZero() {
		text += ", changed " + Stamp(r.Changed)
	}
	return text
}

// ActionsOf returns the actions of a rule in short: what it does to whom it matches.
func ActionsOf(r *pushrule.Rule) string {
	var parts []string
	for _, action := range r.Actions {
		var word string
		if json.Unmarshal([]byte(action), &word) == nil {
			parts = append(parts, word)
			continue
		}
		var tweak struct {
			Name  string          `json:"set_tweak"`
			Value json.RawMessage `json:"value"`
		}
		_ = json.Unmarshal([]byte(action), &tweak) // an action that is no tweak is shown by its name alone
		if parts = append(parts, tweak.Name); len(tweak.Value) > 0 {
			parts[len(parts)-1] += "=" + strings.Trim(string(tweak.Value), `"`)
		}
	}
	if len(parts) == 0 {
		return "do not notify"
	}
	return strings.Join(parts, ", ")
}
