package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/owner"
	"poked/registry/problem"
	"poked/registry/request"
)

const (
	// defaultListed and maxListed limit the notifications in one answer.
	defaultListed = 20
	maxListed     = 100
	// maxListedBytes ends an answer once its events exceed this size.
	maxListedBytes = 1 << 20
	// maxListings limits concurrent answers: each holds in memory what it reads.
	maxListings = 8
	// listingTimeout bounds the time for reading one answer from NATS.
	listingTimeout = 10 * time.Second
	// retryUnavailable is the Retry-After while NATS is away.
	retryUnavailable = time.Second
)

// listedQuery holds the parameters of GET notifications.
type listedQuery struct {
	before    uint64 // sequence in NOTIFICATIONS, or 0 for the newest
	limit     int
	highlight bool // only highlights
}

// listedNotifications is the answer of GET notifications.
type listedNotifications struct {
	NextToken     string               `json:"next_token,omitempty"` // absent at the end
	Notifications []listedNotification `json:"notifications"`
}

// listedNotification is one notification. Read is always false, since a notification
// that was read is no longer listed.
type listedNotification struct {
	Actions    []any           `json:"actions"`
	Event      json.RawMessage `json:"event"`
	ProfileTag string          `json:"profile_tag,omitempty"`
	Read       bool            `json:"read"`
	RoomID     events.RoomID   `json:"room_id"`
	TS         int64           `json:"ts"` // milliseconds since the Unix epoch
}

// getNotifications answers GET notifications (client-server API, "Listing
// Notifications") with the user's unread notifications, newest first. The dispatcher that
// owns the user's partition knows them. They include those that notify only some devices:
// they are unread for the user, too.
func (a *api) getNotifications(ctx context.Context, c *call) (any, error) {
	query, err := parseListedQuery(c.request.URL.Query())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, listingTimeout)
	defer cancel()
	if err := a.listings.Acquire(ctx, 1); err != nil {
		return nil, unavailable(err)
	}
	defer a.listings.Release(1)
	answer, err := a.list(ctx, c.identity.UserID, query)
	if err != nil {
		return nil, unavailable(err)
	}
	return answer, nil
}

// unavailable is the answer when no dispatcher answers, or NATS cannot be read. The rest of
// the API works without both.
func unavailable(err error) error {
	return fmt.Errorf("%w: %w", &problem.Error{
		Kind: problem.NATSAway, Message: "notifications cannot be read at the moment, try again later", RetryAfter: retryUnavailable,
	}, err)
}

// parseListedQuery reads the parameters. All are optional, and an empty one counts as
// absent. A limit above maxListed is lowered, as the specification allows.
func parseListedQuery(values url.Values) (query listedQuery, err error) {
	f := request.Fields{}
	query.limit = defaultListed
	if from := values.Get("from"); from != "" {
		query.before, err = strconv.ParseUint(from, 10, 64)
		f.Want(err == nil && query.before > 0, "from", "must be a next_token of an earlier answer")
	}
	if limit := values.Get("limit"); limit != "" {
		query.limit, err = strconv.Atoi(limit)
		f.Want((err == nil || errors.Is(err, strconv.ErrRange)) && query.limit > 0, "limit", "must be a whole number above 0")
		query.limit = min(query.limit, maxListed)
	}
	if only := values.Get("only"); only != "" {
		query.highlight = true
		f.Want(only == "highlight", "only", "must be highlight")
	}
	return query, f.Err()
}

func (a *api) list(ctx context.Context, user events.UserID, query listedQuery) (listedNotifications, error) {
	page, next, err := a.owners.ListNotifications(ctx, owner.ListQuery{
		User: user, Before: query.before, Limit: query.limit, Highlight: query.highlight,
	})
	if err != nil {
		return listedNotifications{}, err
	}
	answer := listedNotifications{Notifications: make([]listedNotification, 0, len(page))}
	size := 0
	for i := range page {
		if size >= maxListedBytes {
			next = page[i-1].Seq
			break
		}
		event, err := a.eventOf(ctx, user, &page[i])
		if err != nil {
			return listedNotifications{}, err
		}
		size += len(event)
		answer.Notifications = append(answer.Notifications, forList(&page[i], event))
	}
	if next > 0 {
		answer.NextToken = strconv.FormatUint(next, 10)
	}
	return answer, nil
}

func forList(n *owner.ListedNotification, event []byte) listedNotification {
	return listedNotification{
		Actions: actionsOf(n.Tweaks), Event: event, ProfileTag: profileTag(&n.Notification), RoomID: n.Room, TS: n.At.UnixMilli(),
	}
}

// actionsOf returns the actions of the rule that matched: notify, and these tweaks.
func actionsOf(tweaks []byte) []any {
	actions := []any{"notify"}
	gjson.ParseBytes(tweaks).ForEach(func(name, value gjson.Result) bool {
		tweak := map[string]any{"set_tweak": name.String()}
		if value.Type != gjson.True || name.String() != "highlight" { // highlight without a value is true
			tweak["value"] = json.RawMessage(value.Raw)
		}
		actions = append(actions, tweak)
		return true
	})
	return actions
}

// profileTag returns the instance handle of the device whose own rule matched, if no
// global rule did, and "" otherwise. The tweaks are from that device's rule.
func profileTag(n *events.Notification) string {
	if !n.Silent {
		return ""
	}
	for _, handle := range slices.Sorted(maps.Keys(n.Devices)) {
		if n.Devices[handle].Notify {
			return handle
		}
	}
	return ""
}

// eventOf returns the event of a notification as its homeserver published it. Once NATS
// has dropped the event, it returns what the notification itself contains.
func (a *api) eventOf(ctx context.Context, user events.UserID, n *owner.ListedNotification) ([]byte, error) {
	event, err := a.rooms.EventAt(ctx, n.Room, n.RoomSeq, n.EventID)
	if err != nil || event != nil {
		return event, err
	}
	return json.Marshal(keptOf(user, n))
}

// keptEvent is an event as far as a notification contains it (client-server API, "Room
// Event Format"). The state key is set only if it is the user's own id.
type keptEvent struct {
	Content        json.RawMessage `json:"content"`
	EventID        events.EventID  `json:"event_id"`
	OriginServerTS int64           `json:"origin_server_ts"`
	RoomID         events.RoomID   `json:"room_id"`
	Sender         string          `json:"sender"`
	StateKey       *events.UserID  `json:"state_key,omitempty"`
	Type           string          `json:"type"`
}

func keptOf(user events.UserID, n *owner.ListedNotification) keptEvent {
	body := gjson.ParseBytes(n.Body)
	kept := keptEvent{
		Content:        json.RawMessage(cmp.Or(body.Get("content").Raw, "{}")),
		EventID:        n.EventID,
		OriginServerTS: cmp.Or(n.SentAt, n.At.UnixMilli()),
		RoomID:         n.Room,
		Sender:         body.Get("sender").String(),
		Type:           body.Get("type").String(),
	}
	if body.Get("user_is_target").Bool() {
		kept.StateKey = &user
	}
	return kept
}
