package trace

import (
	"fmt"
	"strings"
	"time"

	"poked/dispatcher/poke"
	"poked/events"
)

// Because says in a sentence what poked did with the event as a whole.
func (t *Trace) Because() string {
	switch {
	case t.Unreadable != nil:
		return fmt.Sprintf("poked could not read it: %s (dead letter %d, %s).", t.Unreadable.Detail, t.Unreadable.Seq, clock(t.Unreadable.At))
	case t.Waiting:
		return "No dispatcher has processed it yet."
	case t.Suppressed == events.SuppressRepeated:
		return fmt.Sprintf("It had been published before (sequence %d), and a repeated event notifies nobody.", t.FirstSeq)
	case t.Suppressed == events.SuppressPast:
		return "It was published as historical, so it notifies nobody."
	case t.Suppressed == events.SuppressRedacted:
		return "It had been redacted before poked received it, so it notifies nobody."
	case !t.Room.Known:
		return "poked has never received the room's m.room.create: its state may be incomplete."
	case len(t.Users) == 0:
		return "poked knows of nobody in the room: no member has, or had, a pusher or push rules."
	}
	return ""
}

// Because says in a sentence why the user was, or was not, notified.
func (u *User) Because() string {
	switch u.Suppressed {
	case events.NotSuppressed:
		return "was to be notified: " + u.rule() + "."
	case events.SuppressOwnEvent:
		return "was not notified: they sent the event."
	case events.SuppressNotJoined:
		if u.Membership == "" {
			return "was not notified: they were not in the room."
		}
		return fmt.Sprintf("was not notified: they were not in the room (membership %s).", u.Membership)
	case events.SuppressNoPusher:
		if len(u.Pushers) > 0 {
			return "was not notified: their pushers are disabled or inactive."
		}
		return "was not notified: they have no pusher."
	case events.SuppressIgnored:
		return "was not notified: they ignore the sender."
	case events.SuppressMuted:
		return "was not notified: " + u.rule() + "." + u.also()
	case events.SuppressNoRule:
		return "was not notified: no push rule matched." + u.also()
	case events.SuppressRead:
		return "was not notified: they had read it before poked received it."
	default:
		return "was not notified: see above."
	}
}

// also adds that the user ignores the sender, if that is not the first reason.
func (u *User) also() string {
	if u.Ignores {
		return " They also ignore the sender."
	}
	return ""
}

// rule names the rule that decided.
func (u *User) rule() string {
	switch {
	case u.Rule == nil && len(u.Devices) > 0:
		return "rules of single devices notify those"
	case u.Rule == nil:
		return "no push rule matched"
	case u.Rule.Notify:
		return fmt.Sprintf("%s rule %s notifies", u.Rule.Kind, u.Rule.RuleID)
	}
	return fmt.Sprintf("%s rule %s matched and does not notify", u.Rule.Kind, u.Rule.RuleID)
}

// Because says in a sentence what became of the event at the pusher.
func (p *Pusher) Because(t *Trace, u *User, now time.Time) string {
	switch p.Fate {
	case FateDelivered:
		a := p.Attempts[len(p.Attempts)-1]
		return fmt.Sprintf("Delivered at %s, %s after the event, at try %d.", clock(a.At), span(a.At.Sub(t.At)), a.Attempt)
	case FateDead:
		return p.deadBecause()
	case FateNone:
		if u.Notified {
			return "Not sent: the rules of this device do not notify it."
		}
		return "Not sent."
	case FateWaiting:
		return p.waitsBecause(t, now)
	case FateRead:
		return "Not sent: " + u.Read.Because() + " before it could be delivered."
	case FateRedacted:
		return "Not sent: " + t.Redacted.Because() + " before it could be delivered."
	case FatePassedOver:
		return fmt.Sprintf("Passed over: the pusher was far behind, and only the newest of each room was sent (%s instead).", p.Newer)
	default:
		return p.Fate.because()
	}
}

// because says the same of a fate that needs no particulars.
func (f Fate) because() string {
	switch f {
	case FateRejected:
		return "Its gateway rejected the pushkey, and the pusher was removed."
	case FateRetired:
		return "Its gateway was gone for longer than --retire-after, and the pusher was removed."
	case FateDisabled:
		return "Not sent: the pusher is disabled."
	case FateInactive:
		return "Not sent: its client has not acknowledged that pushes reach the browser."
	case FateQuiet:
		return "Not sent: the user had do not disturb on for the room."
	case FateRingOver:
		return "Not sent: the call was over before it could be delivered."
	default:
		return "No record is left of what became of it: it was longer ago than --trace-for, or a dispatcher died."
	}
}

func (p *Pusher) deadBecause() string {
	why := map[events.DeadReason]string{
		events.DeadExpired: "it was older than its time to live",
		events.DeadRefused: "its gateway refuses this poke and takes others",
		events.DeadSkipped: "an operator put it aside",
	}[p.Letter.Reason]
	if p.Letter.Reason == events.DeadExpired && p.Letter.Detail != "" { // a record of an earlier version has none
		why = "it was " + p.Letter.Detail + ", its time to live"
	}
	text := fmt.Sprintf("Given up at %s: %s (dead letter %d", clock(p.Letter.At), why, p.Letter.Seq)
	if p.Letter.LastError != "" {
		text += ", last error " + p.Letter.LastError
	}
	return text + ")."
}

// waitsBecause says what the poke waits for.
func (p *Pusher) waitsBecause(t *Trace, now time.Time) string {
	s := p.State
	switch {
	case t.Waiting:
		return "Waiting: no dispatcher has processed the event yet."
	case s == nil:
		return "Waiting: no dispatcher answers for this pusher."
	case s.Because == poke.ClassActive.String():
		return fmt.Sprintf("Held back until %s: the user was reading elsewhere.", clock(s.NextTry))
	case s.State == events.PusherBusy:
		return "On its way: a poke to the pusher is in flight."
	case s.State == events.PusherRefused && s.LastError == poke.ClassGone.String():
		return "Not sent: its gateway was gone for longer than --retire-after, and the pusher is about to be removed."
	case s.State == events.PusherRefused:
		return "Not sent: its gateway rejected the pushkey."
	case s.State != events.PusherLagging:
		return "On its way: the pusher's dispatcher has just received it."
	}
	text := fmt.Sprintf("Waiting: its gateway fails (%s)", s.Because)
	if s.Attempts > 0 {
		text += fmt.Sprintf(", %d tries since %s", s.Attempts, clock(s.Since))
	}
	if s.NextTry.After(now) {
		text += ", the next in " + span(s.NextTry.Sub(now))
	}
	return text + "."
}

// Because says what happened, as a part of a sentence.
func (h *Happening) Because() string {
	at := clock(h.At)
	switch h.Kind {
	case "receipt":
		return fmt.Sprintf("%s read it by a receipt for %s at %s", h.By, h.EventID, at)
	case "own_message":
		return fmt.Sprintf("%s read it by sending %s at %s", h.By, h.EventID, at)
	case "left":
		return "the user left the room at " + at
	default:
		return fmt.Sprintf("%s redacted it at %s", h.By, at)
	}
}

func clock(at time.Time) string { return at.UTC().Format("15:04:05.000") }

// span returns a duration to three digits.
func span(d time.Duration) string {
	for _, unit := range []time.Duration{time.Hour, time.Minute, time.Second, time.Millisecond} {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return strings.TrimPrefix(d.Round(time.Microsecond).String(), "-")
}

// RoomName returns the name of the room, if it has one, and its id.
func (t *Trace) RoomName() string {
	if t.Room.Name == "" {
		return string(t.RoomID)
	}
	return fmt.Sprintf("%q (%s)", t.Room.Name, t.RoomID)
}

// UnderWay says how long the event was under way, as the end of a sentence, if that was long.
func (t *Trace) UnderWay() string {
	if under := t.At.Sub(t.SentAt); !t.SentAt.IsZero() && under > time.Minute {
		return fmt.Sprintf(", %s after it was sent by its sender's clock", under.Round(time.Second))
	}
	return ""
}

// Name names a pusher by the names that its user knows.
func (p *Pusher) Name() string {
	name := p.Device
	if name == "" {
		name = "pusher " + string(p.Pusher)
	}
	of := []string{}
	for _, part := range []string{p.App, p.Gateway} {
		if part != "" {
			of = append(of, part)
		}
	}
	if p.App == "" {
		of = append([]string{p.AppID}, of...)
	}
	if p.Gone {
		of = append(of, "removed since")
	}
	return name + " (" + strings.Join(of, ", ") + ")"
}

// Failure returns why an attempt failed, in parentheses, or "".
func (a *Attempt) Failure() string {
	switch {
	case a.Status >= 300:
		return fmt.Sprintf(" (HTTP %d)", a.Status)
	case a.Class != "ok":
		return " (" + a.Class + ")"
	}
	return ""
}
