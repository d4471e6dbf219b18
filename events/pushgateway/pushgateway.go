// Package pushgateway defines which URLs and addresses are allowed for a push gateway,
// the bodies of requests to it, and the meaning of its answers. It is pure: it keeps no
// state, writes no log and imports no other package of poked. Registration and delivery
// both use it and so apply the same rules.
//
//	           registration                          delivery
//	                │                                   │
//	data.url ──▶ CheckURL ──▶ stored      URL ──▶ CheckURL ──▶ POST body ──▶ ReadRejected
//	                │                                   │   (AppendBody)
//	                │                                  DNS
//	                │                                   │  every address, right
//	                │                                   ▼  before connect(2)
//	                └────────── one Policy ◀──────── CheckAddr
//
// # The guard
//
// A [Policy] decides in this order; the first rule that applies wins:
//
//  1. deny: an entry of the operator's deny list is refused, whatever else is allowed;
//  2. an address with a zone, unspecified, multicast or broadcast is refused;
//  3. a cloud metadata address is refused unless the allow list has exactly that
//     address: a wide prefix or a name is not enough, since people allow 100.64.0.0/10
//     and fd00::/8 without thinking of metadata;
//  4. allow: an entry of the operator's allow list is allowed on any port (or on the
//     entry's port), and over plain HTTP if the operator allowed that, too;
//  5. anything but global unicast is refused: IPv4 special-purpose ranges, IPv6
//     outside 2000::/3 and the special ranges in it;
//  6. unusual ports are refused, see [Policy.CheckURL].
//
// A name on the allow list allows every address that it resolves to, except for rules 1
// to 3. A prefix on the allow list allows addresses but no names: a single-label name,
// or plain HTTP to a name, needs an entry of that name.
//
// CheckURL checks only the text, without DNS, to give clients an early and clear error.
// CheckAddr, through [Policy.Dialer], ensures that no connection is opened to an
// address that the operator does not allow: it checks each address after DNS.
//
// # What fails, and how
//
// Every refusal is a [*Refusal]: it matches [ErrBlocked], its Reason can be shown to a
// user, and it never quotes the URL, which may contain a secret. The zero Policy is the
// strictest, so that a forgotten setting allows nothing more. Building bodies and
// reading answers cannot fail.
package pushgateway

import "errors"

// NotifyPath is the only path that a push gateway's URL may have (Client-Server API,
// PusherData.url; Push Gateway API, POST /_matrix/push/v1/notify).
const NotifyPath = "/_matrix/push/v1/notify"

// MaxURLBytes is the maximum length of a URL, in bytes.
const MaxURLBytes = 2048

// MaxResponseBytes is how much of a gateway's answer is read, in bytes. An answer about
// one device contains at most one pushkey of 512 bytes.
const MaxResponseBytes = 64 << 10

// ErrBlocked is matched by every refusal of this package: of a URL, or of an address to
// connect to.
var ErrBlocked = errors.New("blocked by the gateway policy")

// A Refusal is the error for a refused URL or address.
type Refusal struct {
	// Reason is a sentence without capital and full stop for the user who registered
	// the URL, such as "the scheme must be https". It never quotes the URL or its host.
	Reason string
}

// Error returns the reason with a prefix.
func (r *Refusal) Error() string { return "gateway refused: " + r.Reason }

// Unwrap returns ErrBlocked, so that errors.Is finds it in an error of a dialer.
func (r *Refusal) Unwrap() error { return ErrBlocked }

func refuse(reason string) error { return &Refusal{Reason: reason} }
