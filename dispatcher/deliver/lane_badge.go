package deliver

// oweBadge has a lane tell its pusher how much is unread, when everything before
// is told. For one that lags that is a word more in its record.
func (l *lane) oweBadge(it *item) {
	switch {
	case !l.showsBadge(), l.refused == l.pusher, l.delivered.is(l.unread()):
		return
	case l.lag != nil:
		l.lag.badge = true
		it.waiting++
		l.record.held = append(l.record.held, it)
		l.save()
		return
	}
	l.push(it)
}

func (l *lane) showsBadge() bool { return !l.pusher.NoBadge && l.d.Badge != BadgeNone }

// unread returns what the lane's user has unread by now.
func (l *lane) unread() uint64 { return l.unreadCount().badge(l.d.Badge) }

func (l *lane) unreadCount() *unreadCount { return &l.d.recipient(l.pusher.User).unread }

// knowsBadge says whether the pusher was told last what is unread by now.
func (l *lane) knowsBadge() bool { return l.d.isKnown(l.unreadCount()) && l.delivered.is(l.unread()) }

// lastBadge is the count that a pusher was told last. It is not stored: after a
// crash it would be wrong, and a badge that is wrong is worse than one told twice.
type lastBadge struct {
	count uint32
	known bool // not at all since this worker began
}

func (t *lastBadge) set(count uint64) {
	*t = lastBadge{count: uint32(min(count, 1<<32-1)), known: true}
}

// is says whether the pusher knows of a count.
func (t lastBadge) is(count uint64) bool { return t.known && uint64(t.count) == count }
