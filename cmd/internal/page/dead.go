package page

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"poked/cmd/internal/operate"
	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
)

// shownLetters is how many dead letters are shown.
const shownLetters = 100

// deadList is the page of dead letters.
type deadList struct {
	Filter  deadFilter
	Reasons []events.DeadReason
	Periods []period
	Letters []operate.Letter
	More    bool // there are more than are shown
}

// deadFilter selects dead letters, as a form does.
type deadFilter struct {
	User, Room, Reason, App, Since, Seq string
}

// period is how far back a filter may go.
type period struct {
	Value, Text string
	For         time.Duration
}

func periods() []period {
	return []period{{"1h", "the last hour", time.Hour}, {"24h", "the last day", 24 * time.Hour}, {"168h", "the last week", 7 * 24 * time.Hour}}
}

// deadFilterOf reads a filter from a form.
func deadFilterOf(form url.Values) deadFilter {
	get := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	return deadFilter{get("user"), get("room"), get("reason"), get("app"), get("since"), get("seq")}
}

// values returns the filter as a form has it.
func (d deadFilter) values() url.Values {
	form := url.Values{}
	for name, value := range map[string]string{"user": d.User, "room": d.Room, "reason": d.Reason, "app": d.App, "since": d.Since, "seq": d.Seq} {
		if value != "" {
			form.Set(name, value)
		}
	}
	return form
}

// Query returns the filter as the query of an address.
func (d deadFilter) Query() string { return d.values().Encode() }

// Link returns the address of an action on the letters that the filter selects. That all are
// meant is said explicitly: a filter that was lost on the way must not select everything.
func (d deadFilter) Link(verb string) string {
	form := d.values()
	if len(form) == 0 {
		form.Set("all", "1")
	}
	return "/do/" + verb + "?" + form.Encode()
}

// Narrows reports whether the filter excludes anything.
func (d deadFilter) Narrows() bool { return d != deadFilter{} }

// filter returns the filter of dead letters, or what is wrong with it: one that cannot match
// anything is a mistake.
func (d deadFilter) filter(now time.Time) (f operator.DeadFilter, err error) {
	switch {
	case d.User != "" && !events.UserID(d.User).Valid():
		return f, badInput("%q is no user id. Want one such as @alice:example.org.", plain(d.User))
	case d.Room != "" && !isID(d.Room, "!"):
		return f, badInput("%q is no room id. Want one such as !cURbafjkfsMDVwdRDQ:example.org.", plain(d.Room))
	case d.Reason != "" && !slices.Contains(events.DeadReasons(), events.DeadReason(d.Reason)):
		return f, badInput("%q is no reason of dead letters.", plain(d.Reason))
	}
	f = operator.DeadFilter{User: events.UserID(d.User), Room: events.RoomID(d.Room), Reason: events.DeadReason(d.Reason), AppID: d.App}
	if d.Since != "" {
		i := slices.IndexFunc(periods(), func(p period) bool { return p.Value == d.Since })
		if i < 0 {
			return f, badInput("%q is none of the periods.", plain(d.Since))
		}
		f.Since = now.Add(-periods()[i].For)
	}
	if d.Seq != "" {
		seq, err := strconv.ParseUint(d.Seq, 10, 64)
		if err != nil || seq == 0 {
			return f, badInput("%q is no number of a dead letter.", plain(d.Seq))
		}
		f.Seqs = []uint64{seq}
	}
	return f, nil
}

// words returns which dead letters the filter selects.
func (d deadFilter) words() string {
	var parts []string
	for _, part := range [][2]string{{"with number ", d.Seq}, {"of ", d.User}, {"in ", d.Room}, {"of the app ", d.App}, {"with reason ", d.Reason}} {
		if part[1] != "" {
			parts = append(parts, part[0]+plain(part[1]))
		}
	}
	if i := slices.IndexFunc(periods(), func(p period) bool { return p.Value == d.Since }); i >= 0 {
		parts = append(parts, "of "+periods()[i].Text)
	}
	if len(parts) == 0 {
		return "all dead letters"
	}
	return "dead letters " + strings.Join(parts, ", ")
}

func (p *Page) deadView() view {
	return view{
		name: "dead", section: "/dead", title: "Dead letters", heavy: true,
		data: func(ctx context.Context, conn *stream.Conn, r *http.Request, f *frame) error {
			list := &deadList{Filter: deadFilterOf(r.URL.Query()), Reasons: events.DeadReasons(), Periods: periods()}
			f.Data = list
			filter, err := list.Filter.filter(f.Now)
			if err != nil {
				return err
			}
			for letter, err := range operate.WithNames(ctx, conn, f.missing, operate.Letters(operator.NewClient(conn).DeadLetters(ctx, filter), shownLetters)) {
				if err != nil {
					return err
				}
				if list.More = len(list.Letters) == shownLetters; list.More {
					break
				}
				list.Letters = append(list.Letters, letter)
			}
			return nil
		},
	}
}

func (p *Page) letterView() view {
	return view{
		name: "letter", section: "/dead", title: "Dead letter", heavy: true,
		data: func(ctx context.Context, conn *stream.Conn, r *http.Request, f *frame) error {
			filter := deadFilter{Seq: r.PathValue("seq")}
			f.Title = "Dead letter " + plain(filter.Seq)
			selected, err := filter.filter(f.Now)
			if err != nil {
				return err
			}
			for letter, err := range operate.WithNames(ctx, conn, f.missing, operate.Letters(operator.NewClient(conn).DeadLetters(ctx, selected), 1)) {
				if err != nil {
					return err
				}
				f.Data = letter
			}
			if f.Data == nil {
				return notFound("There is no dead letter %s, or none any more.", filter.Seq)
			}
			return nil
		},
	}
}

// reasonWords returns what the reason of a dead letter means.
func reasonWords(reason events.DeadReason) string {
	return map[events.DeadReason]string{
		events.DeadExpired: "the poke was older than its time to live", events.DeadRefused: "its gateway refuses this poke and takes others",
		events.DeadSkipped: "an operator put it aside", events.DeadBadEvent: "a room event that cannot be read",
		events.DeadBadReceipt: "receipts that cannot be read", events.DeadBadNotification: "a notification that cannot be read",
		events.DeadBadMessage: "a message that cannot be read", events.DeadBadValue: "a stored value that cannot be read",
		events.DeadUnreadable: "the dead letter itself cannot be read",
	}[reason]
}
