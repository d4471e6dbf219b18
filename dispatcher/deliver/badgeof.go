package deliver

import "fmt"

// BadgeOf is what the unread count of a poke counts.
type BadgeOf string

// What an unread count may count.
const (
	BadgeMessages BadgeOf = "messages" // notifications
	BadgeRooms    BadgeOf = "rooms"    // rooms that have notifications, or that the user marked as unread
	BadgeNone     BadgeOf = "none"     // nothing: pokes carry no counts
)

// Validate returns an error if b is none of them.
func (b BadgeOf) Validate() error {
	switch b {
	case BadgeMessages, BadgeRooms, BadgeNone:
		return nil
	}
	return fmt.Errorf("--badge must be %s, %s or %s", BadgeMessages, BadgeRooms, BadgeNone)
}
