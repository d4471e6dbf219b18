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
//  1. deny: what the operator denies is refused, whatever else is allowed;
//  2. an address with a zone, unspecified, multicast or broadcast is refused;
//  3. a cloud metadata address is refused unless the allow list has that very
//     address: a wide prefix or a name is not enough, since 100.64.0.0/10 and
//     fd00::/8 are prefixes people allow without thinking of metadata;
//  4. allow: what the operator allows is admitted on any port (or on the port
//     the entry names), and over plain HTTP if that was allowed too;
//  5. anything but global unicast is refused: IPv4 special-purpose ranges, IPv6
//     outside 2000::/3 and the special ranges in it;
//  6. odd ports are refused, see [Policy.CheckURL].
//
// A name in the allow list admits whatever addresses that name resolves to,
// save lines 1 to 3. A prefix in the allow list admits addresses, not names: a
// single-label name needs an entry of its own, and so does plain HTTP to a name.
//
// CheckURL checks only the text and does not use DNS. It gives clients an early and clear
// error. CheckAddr, through [Policy.Dialer], ensures that no connection is opened to an
// address that the operator does not allow: it checks each address after DNS.
//
// # What fails, and how
//
// Every refusal is a [*Refusal]: it matches [ErrBlocked], its Reason can be
// shown to a user, and it never repeats the URL, which may carry a secret. The
// zero Policy is the strictest, so that a forgotten setting opens nothing.
// Building bodies and reading answers cannot fail.
package pushgateway

import "errors"

// NotifyPath is the only path a push gateway's URL may have (Client-Server API,
// PusherData.url; Push Gateway API, POST /_matrix/push/v1/notify).
const NotifyPath = "/_matrix/push/v1/notify"

// MaxURLBytes is the longest URL CheckURL admits, in bytes.
const MaxURLBytes = 2048

// MaxResponseBytes is how much of a gateway's answer is worth reading, in
// bytes. An answer about one device holds at most one pushkey of 512 bytes.
const MaxResponseBytes = 64 << 10

// ErrBlocked is matched by every refusal of this package: a URL that may not be
// a gateway's, or an address that may not be dialled.
var ErrBlocked = errors.New("blocked by the gateway policy")

// A Refusal is the error for a URL or an address that was refused.
type Refusal struct {
	// Reason is a sentence without capital and full stop that can be shown to
	// whoever registered the URL, such as "the scheme must be https". It never
	// repeats the URL or its host.
	Reason string
}

// Error returns the reason with its context.
func (r *Refusal) Error() string { return "gateway refused: " + r.Reason }

// Unwrap returns ErrBlocked, so that errors.Is finds it through a dial error.
func (r *Refusal) Unwrap() error { return ErrBlocked }

func refuse(reason string) error { return &Refusal{Reason: reason} }
