package pushgateway

import (
	"bytes"
	"encoding/json"

	"github.com/tidwall/gjson"
)

// ReadRejected reports whether a gateway's answer to a poke, of status 2xx, says
// that pushkey is no longer valid (Push Gateway API, response). Anything that
// does not say so in the right form means delivered: an empty body, no JSON, no
// such list, or a list of other pushkeys, which is none of our business. It
// costs time linear in the body and does not copy the list.
func ReadRejected(body []byte, pushkey string) bool {
	// The answer to nearly every poke names nobody.
	if bytes.IndexByte(body, '"') < 0 || !json.Valid(body) {
		return false
	}
	list := gjson.GetBytes(body, "rejected")
	if !list.IsArray() {
		return false
	}
	rejected := false
	list.ForEach(func(_, key gjson.Result) bool {
		rejected = key.Type == gjson.String && key.String() == pushkey
		return !rejected
	})
	return rejected
}
