package directory

import (
	"encoding/binary"
	"slices"

	"poked/events"
)

// What the directory knows of a user's pushers is packed into bytes:
//
//	partition*2 + form, revision in PUSHERS
//	full:   for each pusher  kind*2 + own, pushkey_ts, pushkey, handle, and its own data
//	light:  each instance handle, "" for pushers without one; nothing at all if none has one
//
// Numbers are varints, texts have their length before them. Light is all that
// match needs to know of users whose pokes are another dispatcher's; full is for
// those of our own.

// appendText appends a text behind its length.
func appendText[T ~string | ~[]byte](dst []byte, text T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// appendHead begins an entry.
func appendHead(dst []byte, part int, full bool, revision uint64) []byte {
	head := uint64(part) * 2 //nolint:gosec // a partition
	if full {
		head++
	}
	return binary.AppendUvarint(binary.AppendUvarint(dst, head), revision)
}

// appendFull appends the full entry of a user with these pushers, which are of
// their kinds from then on. refused says that one of them may not be poked.
func (k *templates) appendFull(dst []byte, part int, revision uint64, pushers []events.Pusher) (entry []byte, refused bool) {
	dst = appendHead(dst, part, true, revision)
	for i := range pushers {
		p := &pushers[i]
		number, own := k.take(p)
		head := uint64(number) * 2 //nolint:gosec // an index
		if own != nil {
			head++
		}
		dst = binary.AppendVarint(binary.AppendUvarint(dst, head), p.PushkeyTS)
		dst = appendText(appendText(dst, p.Pushkey), p.InstanceHandle)
		if own != nil {
			dst = appendText(dst, own)
		}
		refused = refused || k.all[number].refused != nil
	}
	return dst, refused
}

// appendLight appends the light entry of a user with these pushers.
func appendLight(dst []byte, part int, revision uint64, pushers []events.Pusher) []byte {
	var handles []string
	for i := range pushers {
		handles = append(handles, pushers[i].InstanceHandle)
	}
	return appendHandles(dst, part, revision, handles)
}

// lighten appends the light entry of a user who has a full one.
func lighten(dst, entry []byte) []byte {
	r := reader{rest: entry}
	part, _ := r.head()
	return appendHandles(dst, part, r.revision, handlesOf(entry))
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

// reader reads an entry from its beginning.
type reader struct {
	rest     []byte
	revision uint64 // in PUSHERS, once the head was read
}

func (r *reader) head() (part int, full bool) {
	head := r.number()
	revision, n := binary.Uvarint(r.rest)
	r.rest, r.revision = r.rest[n:], revision
	return head / 2, head%2 == 1
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

// packed is one pusher in a full entry.
type packed struct {
	kind            int
	pushkeyTS       int64
	pushkey, handle []byte
	own             []byte // data of its own; nil if it has the kind's
}

// next returns the next pusher of a full entry whose head was read.
func (r *reader) next() (p packed, ok bool) {
	if len(r.rest) == 0 {
		return p, false
	}
	head := r.number()
	p = packed{kind: head / 2, pushkeyTS: r.time(), pushkey: r.text(), handle: r.text()}
	if head%2 == 1 {
		p.own = r.text()
	}
	return p, true
}

// handlesOf returns the instance handles of an entry's pushers, "" for those
// without one: of a full entry one for each, of a light one each once.
func handlesOf(entry []byte) (handles []string) {
	r := reader{rest: entry}
	if _, full := r.head(); full {
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

// unpack returns the pushers of a user as deliver needs them; none of an entry
// that is not full.
func (k *templates) unpack(user events.UserID, entry []byte) (pushers []*Pusher) {
	r := reader{rest: entry}
	if _, full := r.head(); !full {
		return nil
	}
	for p, ok := r.next(); ok; p, ok = r.next() {
		kind := k.all[p.kind]
		ready := &Pusher{
			User: user, AppID: kind.key.appID, Pushkey: string(p.pushkey), PushkeyTS: p.pushkeyTS, Handle: string(p.handle),
			Data: kind.data, URL: kind.url, Refused: kind.refused, EventOnly: kind.eventOnly, NoBadge: kind.noBadge,
		}
		if p.own != nil {
			ready.Data = slices.Clone(p.own)
		}
		ready.ID = events.NewPusherID(user, ready.AppID, ready.Pushkey)
		pushers = append(pushers, ready)
	}
	return pushers
}

// releaseAll has the pushers of an entry be of no kind any more.
func (k *templates) releaseAll(entry []byte) {
	r := reader{rest: entry}
	if _, full := r.head(); !full {
		return
	}
	for p, ok := r.next(); ok; p, ok = r.next() {
		k.release(p.kind)
	}
}
