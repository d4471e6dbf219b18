package cli

import (
	"errors"
	"fmt"
	"strings"

	"poked/events"
	"poked/events/pushgateway"
)

// Filters are checked when they are read: one that cannot match anything is a mistake, and
// an empty one, such as an unset variable of a script, would match everything.

// userFlag selects a user.
type userFlag events.UserID

// UnmarshalText reads a user id.
func (f *userFlag) UnmarshalText(text []byte) error {
	if !events.UserID(text).Valid() {
		return errors.New("want a user id such as @alice:example.org")
	}
	*f = userFlag(text)
	return nil
}

// roomFlag selects a room.
type roomFlag events.RoomID

// UnmarshalText reads a room id.
func (f *roomFlag) UnmarshalText(text []byte) error {
	if !strings.HasPrefix(string(text), "!") || !events.IsID(events.RoomID(text)) {
		return errors.New("want a room id such as !room:example.org (quote it in a shell)")
	}
	*f = roomFlag(text)
	return nil
}

// eventFlag selects an event.
type eventFlag events.EventID

// UnmarshalText reads an event id.
func (f *eventFlag) UnmarshalText(text []byte) error {
	if !strings.HasPrefix(string(text), "$") || !events.IsID(events.EventID(text)) {
		return errors.New("want an event id such as $143273582443PhrSn (quote it in a shell)")
	}
	*f = eventFlag(text)
	return nil
}

// appFlag selects an app.
type appFlag string

// UnmarshalText reads an app id.
func (f *appFlag) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("want an app id such as org.example.app")
	}
	*f = appFlag(text)
	return nil
}

// originFlag selects a push gateway by its origin, in the form of pushgateway.URL.Origin.
type originFlag string

// refusedOrigin stands for the gateway of pushers that the operator does not allow.
const refusedOrigin = "refused"

// UnmarshalText reads the URL of a gateway, of which the origin counts.
func (f *originFlag) UnmarshalText(text []byte) error {
	if string(text) == refusedOrigin {
		*f = refusedOrigin
		return nil
	}
	origin, err := pushgateway.ParseOrigin(string(text))
	var refusal *pushgateway.Refusal
	if errors.As(err, &refusal) {
		return fmt.Errorf("want a gateway such as https://push.example.org, or %s: %s", refusedOrigin, refusal.Reason)
	}
	*f = originFlag(origin)
	return err
}

// asIDs returns the ids that flags hold.
func asIDs[ID, Flag ~string](flags []Flag) (ids []ID) {
	for _, flag := range flags {
		ids = append(ids, ID(flag))
	}
	return ids
}
