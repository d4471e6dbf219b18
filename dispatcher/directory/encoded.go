package directory

import (
	"encoding/binary"
	"slices"

	"poked/events"
)

// A user's pushers are encoded as one record of the packed map:
//
//	head    partition*2 + (1 if full), revision in PUSHERS
//	full    for each pusher: template*4 + (1 if it has data of its own) + (2 if it follows
//	        another), pushkey_ts, pushkey, instance handle, its own data if it has any, and
//	        the id of the other if it follows one. A browser's own data is all of its data
//	light   each instance handle once, "" for pushers without one; nothing at all if no
//	        pusher has one
//
// Numbers are varints, and each text follows its length. A full record is what deliver
// needs and is kept for users in our own partitions; a light one is all that match needs
// of the others.

// appendText appends a text after its length.
func appendText[T ~string | ~[]byte](dst []byte, text T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// appendHead appends the head of a record.
func appendHead(dst []byte, part int, full bool, revision uint64) []byte {
	head := uint64(part) * 2 //nolint:gosec // a partition
	if full {
		head++
	}
	return binary.AppendUvarint(binary.AppendUvarint(dst, head), revision)
}

// appendFull appends the full record of a user with these pushers, which use their
// templates from then on. refused reports that the policy forbids poking one of them.
func (t *templates) appendFull(dst []byte, part int, revision uint64, pushers []events.Pusher) (encoded []byte, refused bool) {
	dst = appendHead(dst, part, true, revision)
	for i := range pushers {
		p := &pushers[i]
		number, own := t.acquire(p)
		head := uint64(number) * 4 //nolint:gosec // an index
		if own != nil {
			head++
		}
		if p.Follows != "" {
			head += 2
		}
		dst = binary.AppendVarint(binary.AppendUvarint(dst, head), p.PushkeyTS)
		dst = appendText(appendText(dst, p.Pushkey), p.InstanceHandle)
		if own != nil {
			dst = appendText(dst, own)
		}
		if p.Follows != "" {
			dst = appendText(dst, p.Follows)
		}
		refused = refused || t.refuses(number, p)
	}
	return dst, refused
}

// refuses reports whether the policy forbids poking a pusher that uses a template.
func (t *templates) refuses(number int, p *events.Pusher) bool {
	from := t.all[number]
	if !from.key.web {
		return from.refused != nil
	}
	browser := Pusher{Pushkey: p.Pushkey}
	t.setBrowser(&browser, p.Data)
	return browser.Refused != nil
}

// appendLight appends the light record of a user with these pushers.
func appendLight(dst []byte, part int, revision uint64, pushers []events.Pusher) []byte {
	var handles []string
	for i := range pushers {
		handles = append(handles, pushers[i].InstanceHandle)
	}
	return appendHandles(dst, part, revision, handles)
}

// appendLightened appends the light record that a full one becomes.
func appendLightened(dst, full []byte) []byte {
	r := newReader(full)
	return appendHandles(dst, r.part, r.revision, handlesOf(full))
}

func appendHandles(dst []byte, part int, revision uint64, handles []string) []byte {
	dst = appendHead(dst, part, false, revision)
	slices.Sort(handles)
	handles = slices.Compact(handles)
	if len(handles) == 1 && handles[0] == "" {
		return dst
	}
	for _, handle := range handles {
		dst = appendText(dst, handle)
	}
	return dst
}

// reader reads a record whose head it has read.
type reader struct {
	part     int
	full     bool
	revision uint64 // in PUSHERS
	rest     []byte
}

func newReader(encoded []byte) (r reader) {
	r.rest = encoded
	head := r.number()
	r.part, r.full = head/2, head%2 == 1
	revision, n := binary.Uvarint(r.rest)
	r.rest, r.revision = r.rest[n:], revision
	return r
}

func (r *reader) number() int {
	number, n := binary.Uvarint(r.rest)
	r.rest = r.rest[n:]
	return int(number) //nolint:gosec // we wrote it
}

func (r *reader) time() int64 {
	number, n := binary.Varint(r.rest)
	r.rest = r.rest[n:]
	return number
}

func (r *reader) text() (text []byte) {
	text, r.rest = cut(r.rest)
	return text
}

// encodedPusher is one pusher of a full record.
type encodedPusher struct {
	template        int
	pushkeyTS       int64
	pushkey, handle []byte
	own             []byte // its own data; nil if it has that of the template
	follows         []byte // the id of another pusher; nil if it follows none
}

// next returns the next pusher of a full record.
func (r *reader) next() (p encodedPusher, ok bool) {
	if len(r.rest) == 0 {
		return p, false
	}
	head := r.number()
	p = encodedPusher{template: head / 4, pushkeyTS: r.time(), pushkey: r.text(), handle: r.text()}
	if head&1 != 0 {
		p.own = r.text()
	}
	if head&2 != 0 {
		p.follows = r.text()
	}
	return p, true
}

// handlesOf returns the instance handles of a record's pushers, "" for those without one.
// A light record yields each handle once, a full one yields one for each pusher.
func handlesOf(encoded []byte) (handles []string) {
	r := newReader(encoded)
	if r.full {
		for p, ok := r.next(); ok; p, ok = r.next() {
			handles = append(handles, string(p.handle))
		}
		return handles
	}
	if len(r.rest) == 0 {
		return []string{""}
	}
	for len(r.rest) > 0 {
		handles = append(handles, string(r.text()))
	}
	return handles
}

// decode returns the pushers of a full record as deliver needs them, and none of a light
// one.
func (t *templates) decode(user events.UserID, encoded []byte) (pushers []*Pusher) {
	r := newReader(encoded)
	if !r.full {
		return nil
	}
	for p, ok := r.next(); ok; p, ok = r.next() {
		from := t.all[p.template]
		pusher := &Pusher{
			User: user, AppID: from.key.appID, Pushkey: string(p.pushkey), PushkeyTS: p.pushkeyTS, Handle: string(p.handle),
			Data: from.data, URL: from.url, Refused: from.refused, EventOnly: from.eventOnly, NoBadge: from.noBadge, TTL: from.ttl, Cleared: from.cleared,
			NamesUser: from.namesUser, Avatar: from.avatar, Follows: events.PusherID(p.follows),
		}
		switch {
		case from.key.web:
			t.setBrowser(pusher, p.own)
		case p.own != nil:
			pusher.Data = slices.Clone(p.own)
		}
		pusher.ID = events.NewPusherID(user, pusher.AppID, pusher.Pushkey)
		pushers = append(pushers, pusher)
	}
	return pushers
}

// releaseAll releases the templates of a record's pushers.
func (t *templates) releaseAll(encoded []byte) {
	r := newReader(encoded)
	if !r.full {
		return
	}
	for p, ok := r.next(); ok; p, ok = r.next() {
		t.release(p.template)
	}
}
