package testgateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"poked/events"
)

// Poke is one request.
type Poke struct {
	At   time.Time
	Body []byte
	Notify
	// Refusal is the answer to a body that is no poke; nil for a poke.
	Refusal *Answer
}

// Notify is the part of a body that is shown, or that identifies a poke.
type Notify struct {
	Notification Notification `json:"notification"`
}

// Notification is the part of a Push Gateway API notification that is shown.
type Notification struct {
	EventID           events.EventID `json:"event_id"`
	RoomID            events.RoomID  `json:"room_id"`
	Type              string         `json:"type"`
	Sender            string         `json:"sender"`
	SenderDisplayName string         `json:"sender_display_name"`
	RoomName          string         `json:"room_name"`
	RoomAlias         string         `json:"room_alias"`
	Prio              string         `json:"prio"`
	Content           struct {
		Body any `json:"body"`
	} `json:"content"`
	Counts struct {
		Unread *int `json:"unread"` // nil if the poke does not contain it
	} `json:"counts"`
	Devices []Device `json:"devices"`
}

// Device is one device of a notification.
type Device struct {
	AppID     string `json:"app_id"`
	Pushkey   string `json:"pushkey"`
	PushkeyTS int64  `json:"pushkey_ts"`
	Tweaks    struct {
		Sound     string `json:"sound"`
		Highlight bool   `json:"highlight"`
	} `json:"tweaks"`
}

// Parse reads the body of a request that arrived at a time. It returns a poke with a Refusal
// for a body that the Push Gateway API does not allow.
func Parse(at time.Time, body []byte) *Poke {
	p := &Poke{At: at, Body: body}
	refuse := func(code, why string) { p.Refusal = &Answer{Status: http.StatusBadRequest, ErrCode: code, Error: why} }
	if err := json.Unmarshal(body, &p.Notify); err != nil {
		if errors.As(err, new(*json.SyntaxError)) {
			refuse("M_NOT_JSON", "the body is not JSON")
		} else {
			refuse("M_BAD_JSON", "a member of the notification has a wrong type")
		}
		return p
	}
	if len(p.Notification.Devices) == 0 {
		refuse("M_MISSING_PARAM", "notification.devices is missing or empty")
	}
	for _, device := range p.Notification.Devices {
		if device.AppID == "" || device.Pushkey == "" {
			refuse("M_MISSING_PARAM", "a device needs app_id and pushkey")
		}
	}
	return p
}

// IsBadge reports whether a notification is badge-only: it has no event, only the unread
// count.
func (n *Notification) IsBadge() bool { return n.EventID == "" }

// How returns the priority, the sound, and "!" for a highlight.
func (n *Notification) How() string {
	words := []string{n.Prio}
	for _, device := range n.Devices {
		if device.Tweaks.Sound != "" {
			words = append(words, device.Tweaks.Sound)
		}
		if device.Tweaks.Highlight {
			words = append(words, "!")
		}
	}
	return strings.Join(words, " ")
}

// What returns the sender and the message, or only the event's id for an event_id_only
// pusher.
func (n *Notification) What() string {
	switch {
	case n.IsBadge():
		return "(badge)"
	case n.Type == "":
		return string(n.EventID)
	}
	sender := n.Sender
	if n.SenderDisplayName != "" {
		sender = n.SenderDisplayName
	}
	if text, ok := n.Content.Body.(string); ok {
		return sender + ": " + text
	}
	return sender + ": (" + n.Type + ")"
}
