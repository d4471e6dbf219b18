package poke

import (
	"slices"
	"strconv"
	"strings"
)

const (
	Kinds   = int(Expired) + 1
	Classes = 25
)

// ClassNames are all classes that are told apart. Of HTTP statuses only those are
// that ask for something; the others count by their first digit.
func ClassNames() [Classes]string {
	return [Classes]string{
		"other", "ok", "rejected", "expired", "timeout", "refused", "reset", "dns", "network", "tls",
		"blocked_address", "refused_url", "body_too_large", "headers_too_large", "not_http", ClassNATS,
		ClassPaused, ClassGatewayDown, "moved",
		"http_429", "http_503", "http_1xx", "http_3xx", "http_4xx", "http_5xx",
	}
}

// ClassIndex returns where the class of an outcome is counted.
func ClassIndex(out Outcome) int {
	names := ClassNames()
	name := out.Class
	if out.Kind == Delivered {
		name = "ok"
	}
	if i := slices.Index(names[:], name); i >= 0 {
		return i
	}
	if strings.HasPrefix(name, "http_") {
		name = "http_" + strconv.Itoa(out.Status/100) + "xx"
	}
	return max(slices.Index(names[:], name), 0)
}

// A lane that would be the first in line at a gateway may still not be sent
// anything: the words for it, which become the class of the lane's lag.
const (
	ClassPaused      = "paused"
	ClassGatewayDown = "gateway_down"
	ClassSlowGateway = "slow"
)
