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

// ErrTooLarge reports that a decompressed answer has more than [MaxResponseBytes].
var ErrTooLarge = errors.New("the answer is too large")

// Decode decompresses a gateway's answer according to its Content-Encoding (gzip or
// deflate, although poked asks for neither) and converts it to UTF-8 without a byte
// order mark. An answer that it cannot decode is returned unchanged: the gateway has
// accepted the poke, and whether it rejects a pushkey is unknown. The only error is
// [ErrTooLarge].
func Decode(encoding string, body []byte) ([]byte, error) {
	var unpacked io.Reader
	var err error
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "gzip", "x-gzip":
		unpacked, err = gzip.NewReader(bytes.NewReader(body))
	case "deflate":
		if unpacked, err = zlib.NewReader(bytes.NewReader(body)); err != nil { // some servers omit the zlib header
			unpacked, err = flate.NewReader(bytes.NewReader(body)), nil
		}
	default:
		return plainText(body), nil
	}
	if err != nil {
		return body, nil //nolint:nilerr // not in the encoding of its header
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

// plainText converts JSON in UTF-16, or with a byte order mark, to UTF-8. JSON begins
// with an ASCII character, from which the byte order follows.
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

// ReadRejected reports whether a gateway's 2xx answer to a poke rejects pushkey (Push
// Gateway API, response). Any other answer means delivered: an empty body, invalid
// JSON, no such list, or a list of other pushkeys. It takes time linear in the body and
// does not copy the list.
func ReadRejected(body []byte, pushkey string) bool {
	// The answer to almost every poke has an empty list. One that rejects a pushkey has two strings.
	if bytes.Count(body, []byte{'"'}) < 4 || !json.Valid(body) {
		return false
	}
	answer := gjson.ParseBytes(body)
	if !answer.IsObject() {
		return false
	}
	var list gjson.Result
	answer.ForEach(func(key, value gjson.Result) bool {
		if key.Str == "rejected" { // if it occurs twice the last one wins, as in most parsers
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
