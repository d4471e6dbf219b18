package dispatcher

import (
	"slices"
	"strconv"
	"strings"
)

const (
	outcomeKinds = int(outcomeExpired) + 1
	tallyClasses = 25
)

// classNames are all classes that are told apart. Of HTTP statuses only those are
// that ask for something; the others count by their first digit.
func classNames() [tallyClasses]string {
	return [tallyClasses]string{
		"other", "ok", "rejected", "expired", "timeout", "refused", "reset", "dns", "network", "tls",
		"blocked_address", "refused_url", "body_too_large", "headers_too_large", "not_http", classNATS,
		heldPaused, heldDown, "moved",
		"http_429", "http_503", "http_1xx", "http_3xx", "http_4xx", "http_5xx",
	}
}

// classIndex returns where the class of an outcome is counted.
func classIndex(out outcome) int {
	names := classNames()
	name := out.class
	if out.kind == outcomeDelivered {
		name = "ok"
	}
	if i := slices.Index(names[:], name); i >= 0 {
		return i
	}
	if strings.HasPrefix(name, "http_") {
		name = "http_" + strconv.Itoa(out.status/100) + "xx"
	}
	return max(slices.Index(names[:], name), 0)
}

// A lane that would be the first in line at a gateway may still not be sent
// anything: the words for it, which become the class of the lane's lag.
const (
	heldPaused = "paused"
	heldDown   = "gateway_down"
	heldSlow   = "slow"
)
