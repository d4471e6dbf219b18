package deliver

// enqueueBadge makes the lane send the unread count once everything before it is sent. If
// the lane lags, its record contains that.
func (l *lane) enqueueBadge(it *item) {
	clears := l.clears(it.cleared)
	switch {
	case l.refused == l.pusher, !clears && (!l.showsBadge() || l.knowsBadge()):
		return
	case l.lag != nil:
		l.lag.badge = true
		if clears {
			l.lag.clearing = l.lag.clearing.and(it.cleared)
		}
		it.waiting++
		l.record.held = append(l.record.held, it)
		l.save()
		return
	}
	l.push(it)
}

// showsBadge reports whether the pusher gets pokes with nothing but the unread count. A browser
// may have to show something for each, so it can ask for none.
func (l *lane) showsBadge() bool {
	return !l.pusher.NoBadge && l.d.Badge != BadgeNone && (l.pusher.Web == nil || !l.pusher.Web.EventsOnly)
}

// unread returns the unread count of the lane's user. known is false if that is not in
// memory; it is while the lane has something to send.
func (l *lane) unread() (n uint64, known bool) {
	in := l.d.inboxes[l.pusher.User]
	if in == nil {
		return 0, false
	}
	return in.badge(l.d.Badge), true
}

// knowsBadge reports whether the pusher has received the current unread count.
func (l *lane) knowsBadge() bool {
	n, known := l.unread()
	return known && l.delivered.is(n)
}

// lastBadge is the last unread count that a pusher received. It is not stored: after a
// crash it would be wrong, and a wrong badge is worse than one that is sent twice.
type lastBadge struct {
	count uint32
	known bool // false until this worker has sent one
}

func (t *lastBadge) set(count uint64) {
	*t = lastBadge{count: uint32(min(count, 1<<32-1)), known: true}
}

// is reports whether the pusher has received a count.
func (t lastBadge) is(count uint64) bool { return t.known && uint64(t.count) == count }
