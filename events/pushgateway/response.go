package pushgateway

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf16"

	"github.com/tidwall/gjson"
)

// ErrTooLarge reports that an answer holds more than [MaxResponseBytes] once it is
// unpacked.
var ErrTooLarge = errors.New("the answer is too large")

// Decode returns a gateway's answer as UTF-8, without what its Content-Encoding did to
// it (gzip or deflate, though we ask for neither) and without a byte order mark. What
// it cannot decode it returns unchanged: the gateway has accepted the poke, and whether
// the answer rejects a pushkey cannot be known. The only error is [ErrTooLarge].
func Decode(encoding string, body []byte) ([]byte, error) {
	packed := bytes.NewReader(body)
	var unpacked io.Reader
	var err error
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "gzip", "x-gzip":
		unpacked, err = gzip.NewReader(packed)
	case "deflate":
		if unpacked, err = zlib.NewReader(packed); err != nil { // some leave out what zlib puts around it
			unpacked, err = flate.NewReader(bytes.NewReader(body)), nil
		}
	default:
		return plainText(body), nil
	}
	if err != nil {
		return body, nil //nolint:nilerr // it is not what its header says
	}
	plain, err := io.ReadAll(io.LimitReader(unpacked, MaxResponseBytes+1))
	switch {
	case len(plain) > MaxResponseBytes:
		return nil, ErrTooLarge
	case err != nil:
		return body, nil //nolint:nilerr // as above
	}
	return plainText(plain), nil
}

// plainText returns JSON that may be in UTF-16, or begin with a byte order mark, as
// UTF-8. JSON begins with an ASCII character, which tells the byte order.
func plainText(text []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return text[3:]
	case len(text) < 2:
		return text
	case text[0] == 0xfe && text[1] == 0xff, text[0] == 0 && text[1] != 0:
		order = binary.BigEndian
	case text[0] == 0xff && text[1] == 0xfe, text[0] != 0 && text[1] == 0:
		order = binary.LittleEndian
	default:
		return text
	}
	units := make([]uint16, len(text)/2)
	for i := range units {
		units[i] = order.Uint16(text[2*i:])
	}
	if units[0] == 0xfeff {
		units = units[1:]
	}
	return []byte(string(utf16.Decode(units)))
}

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
	answer := gjson.ParseBytes(body)
	if !answer.IsObject() {
		return false
	}
	var list gjson.Result
	answer.ForEach(func(key, value gjson.Result) bool {
		if key.Str == "rejected" { // if it stands twice the last counts, as in most parsers
			list = value
		}
		return true
	})
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
