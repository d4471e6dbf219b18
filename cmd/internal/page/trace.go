package page

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"poked/dispatcher/trace"
	"poked/events"
	"poked/events/stream"
)

const (
	// aroundFor is how far from the given time an event may be.
	aroundFor = 10 * time.Minute
	// shownUsers is how many users of a trace are shown.
	shownUsers = 200
)

// traced is the page "Why did it not ring?".
type traced struct {
	Event, Room, User, At string // as they were given
	Rules                 bool

	Candidates []candidate // for a room and a time
	Asked      bool        // whether anything was asked
	Answer     *trace.Trace
	Users      []tracedUser
	More       int // users that are not shown
	Link       string
}

// candidate is an event that may be meant.
type candidate struct {
	trace.Candidate
	Link string
}

// tracedUser is what became of the event for a user.
type tracedUser struct {
	*trace.User
	State   state
	Why     string
	Pushers []tracedPusher
}

// tracedPusher is what became of the event at a pusher.
type tracedPusher struct {
	*trace.Pusher
	State state
	Why   string
}

func (p *Page) traceView() view {
	return view{
		name: "trace", section: "/trace", title: "Why did it not ring?", heavy: true,
		data: func(ctx context.Context, conn *stream.Conn, r *http.Request, f *frame) error {
			q := r.URL.Query()
			s := &traced{
				Event: strings.TrimSpace(q.Get("event")), Room: strings.TrimSpace(q.Get("room")), User: strings.TrimSpace(q.Get("user")),
				At: strings.TrimSpace(q.Get("at")), Rules: q.Get("rules") != "",
			}
			f.Data = s
			if err := s.check(); err != nil {
				return err
			}
			switch {
			case s.Event != "":
				return s.trace(ctx, conn, f)
			case s.Room != "":
				return s.around(ctx, conn, f)
			}
			return nil
		},
	}
}

// check refuses what cannot be an id or a time.
func (s *traced) check() error {
	switch {
	case s.Event != "" && !isID(s.Event, "$"):
		return badInput("%q is no event id. Want one such as $143273582443PhrSn.", plain(s.Event))
	case s.User != "" && !events.UserID(s.User).Valid():
		return badInput("%q is no user id. Want one such as @alice:example.org.", plain(s.User))
	case s.Room != "" && !isID(s.Room, "!"):
		return badInput("%q is no room id. Want one such as !cURbafjkfsMDVwdRDQ:example.org.", plain(s.Room))
	case s.Event == "" && s.Room != "" && s.At == "":
		return badInput("With a room, give the event or the time.")
	case s.Event == "" && s.Room == "" && s.At != "":
		return badInput("With a time, give the room as well.")
	}
	return nil
}

// isID reports whether a text is an id that begins with a sigil.
func isID(text, sigil string) bool { return strings.HasPrefix(text, sigil) && events.IsID(text) }

// trace answers for an event.
func (s *traced) trace(ctx context.Context, conn *stream.Conn, f *frame) error {
	s.Asked = true
	t, err := trace.Run(ctx, conn, trace.Query{
		Event: events.EventID(s.Event), Room: events.RoomID(s.Room), User: events.UserID(s.User), Rules: s.Rules,
	})
	switch {
	case errors.Is(err, trace.ErrNotFound):
		return nil
	case errors.Is(err, context.DeadlineExceeded) && s.Room == "":
		return &problem{http.StatusGatewayTimeout, "The search through all events took too long. Give the room as well: then only its events are searched."}
	case err != nil:
		return err
	}
	s.Answer = t
	for i := range t.Users {
		if len(s.Users) == shownUsers {
			s.More = len(t.Users) - shownUsers
			break
		}
		s.Users = append(s.Users, userOf(t, &t.Users[i], f.Now))
	}
	s.Link = s.linkTo(t.EventID, t.RoomID)
	return nil
}

// linkTo returns the address of the answer for an event, which one can send to somebody.
func (s *traced) linkTo(event events.EventID, room events.RoomID) string {
	q := url.Values{"event": {string(event)}}
	if room != "" {
		q.Set("room", string(room))
	}
	if s.User != "" {
		q.Set("user", s.User)
	}
	if s.Rules {
		q.Set("rules", "1")
	}
	return "/trace?" + q.Encode()
}

// userOf puts into words what became of the event for a user.
func userOf(t *trace.Trace, u *trace.User, now time.Time) tracedUser {
	shown := tracedUser{User: u, State: state{quiet, "not notified", ""}, Why: u.Because()}
	if u.Notified {
		shown.State = state{quiet, "to be notified", ""}
	}
	for i := range u.Pushers {
		p := &u.Pushers[i]
		s := fateState(p.Fate)
		shown.Pushers = append(shown.Pushers, tracedPusher{p, s, p.Because(t, u, now)})
		if u.Notified && (shown.State.Word == "to be notified" || s.Level.rank() > shown.State.Level.rank()) {
			shown.State = s
		}
	}
	return shown
}

// fateState returns what became of an event at a pusher in words.
func fateState(fate trace.Fate) state {
	switch fate {
	case trace.FateDelivered:
		return state{good, "delivered", ""}
	case trace.FateRejected:
		return state{bad, "rejected", ""}
	case trace.FateRetired:
		return state{bad, "retired", ""}
	case trace.FateDead:
		return state{bad, "given up", ""}
	case trace.FateWaiting:
		return state{warn, "waiting", ""}
	case trace.FateRead:
		return state{quiet, "read first", ""}
	case trace.FateRedacted:
		return state{quiet, "redacted first", ""}
	case trace.FatePassedOver:
		return state{quiet, "passed over", ""}
	case trace.FateRingOver:
		return state{quiet, "call over", ""}
	case trace.FateQuiet:
		return state{quiet, "do not disturb", ""}
	case trace.FateDisabled:
		return state{quiet, "disabled", ""}
	case trace.FateInactive:
		return state{quiet, "not acknowledged", ""}
	case trace.FateUnknown:
		return state{quiet, "no record", ""}
	default:
		return state{quiet, "not sent", ""}
	}
}

// around lists the events of a room at a time.
func (s *traced) around(ctx context.Context, conn *stream.Conn, f *frame) error {
	at, err := moment(s.At, f.Now)
	if err != nil {
		return err
	}
	s.Asked = true
	found, err := trace.Around(ctx, conn, events.RoomID(s.Room), at.Add(-aroundFor), at.Add(aroundFor))
	if err != nil {
		return err
	}
	for _, c := range found {
		s.Candidates = append(s.Candidates, candidate{c, s.linkTo(c.EventID, events.RoomID(s.Room))})
	}
	return nil
}

// moment reads a time in UTC: a whole one, or one of the last 24 hours.
func moment(text string, now time.Time) (time.Time, error) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02 15:04:05"} {
		if at, err := time.Parse(form, text); err == nil {
			return at, nil
		}
	}
	for _, form := range []string{"15:04", "15:04:05"} {
		if at, err := time.Parse(form, text); err == nil {
			day := now.UTC().Truncate(24 * time.Hour)
			if at = day.Add(at.Sub(at.Truncate(24 * time.Hour))); at.After(now) {
				at = at.Add(-24 * time.Hour)
			}
			return at, nil
		}
	}
	return time.Time{}, badInput("%q is no time. Want one in UTC such as 14:30 or 2026-01-31 14:30.", plain(text))
}
