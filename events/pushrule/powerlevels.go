package pushrule

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// The power levels that m.room.power_levels implies where it has none.
const (
	defaultNotificationLevel = 50
	defaultRedactLevel       = 50
	defaultRemoveLevel       = 50 // of kick and ban
)

// PowerLevels is the part of a room's m.room.power_levels that push rules depend on, and
// what redacting the events of others takes.
type PowerLevels struct {
	// Users are the levels of individual users, by user id.
	Users map[string]int64
	// Default is the level of all other users.
	Default int64
	// Notifications is for Room.NotificationLevels.
	Notifications map[string]int64
	// Redact is the level for redacting the events of users of other servers.
	Redact int64
	// Invite, Kick and Ban are the levels for changing the membership of others.
	Invite, Kick, Ban int64
}

// ParsePowerLevels parses the content of an m.room.power_levels event. Room versions before 10 allowed levels that
// are not integers: strings of digits are accepted, other numbers lose their fraction, and anything else counts as
// absent.
func ParsePowerLevels(content []byte) PowerLevels {
	doc := gjson.ParseBytes(content)
	if !doc.IsObject() {
		return PowerLevels{Redact: defaultRedactLevel, Kick: defaultRemoveLevel, Ban: defaultRemoveLevel}
	}
	level, _ := parseLevel(doc.Get("users_default"))
	return PowerLevels{
		Users:         parseLevels(doc.Get("users")),
		Default:       level,
		Notifications: parseLevels(doc.Get("notifications")),
		Redact:        parseLevelOr(doc.Get("redact"), defaultRedactLevel),
		Invite:        parseLevelOr(doc.Get("invite"), 0),
		Kick:          parseLevelOr(doc.Get("kick"), defaultRemoveLevel),
		Ban:           parseLevelOr(doc.Get("ban"), defaultRemoveLevel),
	}
}

// Of returns a user's level.
func (p PowerLevels) Of(userID string) int64 {
	if level, ok := p.Users[userID]; ok {
		return level
	}
	return p.Default
}

// needed returns the level that an action takes; ok is false for an unknown one.
func (p PowerLevels) needed(action string) (level int64, ok bool) {
	switch action {
	case "invite":
		return p.Invite, true
	case "kick":
		return p.Kick, true
	case "ban":
		return p.Ban, true
	case "redact":
		return p.Redact, true
	}
	return 0, false
}

func parseLevels(doc gjson.Result) map[string]int64 {
	if !doc.IsObject() {
		return nil
	}
	levels := make(map[string]int64)
	doc.ForEach(func(name, value gjson.Result) bool {
		if level, ok := parseLevel(value); ok {
			levels[name.Str] = level
		}
		return true
	})
	return levels
}

func parseLevelOr(doc gjson.Result, otherwise int64) int64 {
	if level, ok := parseLevel(doc); ok {
		return level
	}
	return otherwise
}

// parseLevel parses a power level of any size. A level that no int64 can hold becomes the nearest one that it can,
// which compares in the same way with every level in use.
func parseLevel(doc gjson.Result) (level int64, ok bool) {
	text := doc.Raw
	switch doc.Type {
	case gjson.String:
		text = strings.TrimSpace(doc.Str)
	case gjson.Number:
	default:
		return 0, false
	}
	level, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil, errors.Is(err, strconv.ErrRange): // out of range, it is the nearest int64
		return level, true
	case doc.Type != gjson.Number:
		return 0, false
	case doc.Num >= math.MaxInt64:
		return math.MaxInt64, true
	case doc.Num <= math.MinInt64:
		return math.MinInt64, true
	}
	return int64(math.Trunc(doc.Num)), true
}

// maySenderNotify reports whether the sender's power level allows a kind of notification.
func (r *Room) maySenderNotify(kind string) bool {
	return r.SenderIsCreator || r.SenderLevel >= r.neededToNotify(kind)
}

// mayRecipient reports whether a user's power level allows an action (MSC4506). It never does if nobody knows the levels.
func (r *Room) mayRecipient(user, action string) bool {
	if r.Levels == nil {
		return false
	}
	level, unlimited := r.LevelOf(user)
	needed, ok := r.Levels.needed(action)
	return ok && (unlimited || level >= needed)
}

// neededToNotify returns the power level needed for a kind of notification.
func (r *Room) neededToNotify(kind string) int64 {
	if level, ok := r.NotificationLevels[kind]; ok {
		return level
	}
	return defaultNotificationLevel
}
