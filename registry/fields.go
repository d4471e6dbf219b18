package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// fields reads the keys of a JSON object and collects what is wrong with them,
// so that a client learns everything at once.
type fields struct {
	raw       map[string]json.RawMessage
	wrongType []string // "<key> must be a string"
	missing   []string // keys
	invalid   []string // "<key> must have at most 64 characters"
}

// parseFields reads a request body that must be one JSON object.
func parseFields(body []byte) (*fields, error) {
	// A decoder would replace invalid UTF-8 and store something else than was sent.
	if !utf8.Valid(body) || !json.Valid(body) {
		return nil, fail(notJSON, "the request body is not JSON")
	}
	if hasLoneSurrogate(body) {
		return nil, fail(badJSON, "the request body escapes half of a character")
	}
	raw, err := parseObject(body)
	if err != nil {
		return nil, fail(badJSON, "the request body "+err.Error())
	}
	return &fields{raw: raw}, nil
}

// hasLoneSurrogate says whether valid JSON escapes a UTF-16 surrogate without its
// other half (RFC 8259, section 8.2): no text, which a decoder would replace.
func hasLoneSurrogate(body []byte) bool {
	for i := 0; i+1 < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		first := escapedUnit(body[i:])
		switch {
		case !utf16.IsSurrogate(first):
			i++ // whatever is escaped, the next byte belongs to it
		case i+6 >= len(body) || utf16.DecodeRune(first, escapedUnit(body[i+6:])) == utf8.RuneError:
			return true
		default:
			i += 11
		}
	}
	return false
}

// escapedUnit returns the UTF-16 unit that text begins with as \uXXXX, or 0.
func escapedUnit(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(unit)
}

var (
	errNotObject = errors.New("must be a JSON object")
	errTwice     = errors.New("has a key that stands twice")
)

// parseObject splits valid JSON into its keys. encoding/json would match keys
// whatever their case and let the last of two equal keys win, where another
// reader of the same bytes may take the first.
func parseObject(raw []byte) (map[string]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, errNotObject
	}
	object := map[string]json.RawMessage{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string) // nothing else stands before a colon
		if _, twice := object[key]; twice {
			return nil, errTwice
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		object[key] = value
	}
	return object, nil
}

// text returns a required string.
func (f *fields) text(key string) string {
	raw, ok := f.raw[key]
	if !ok {
		f.missing = append(f.missing, key)
		return ""
	}
	return f.str(key, raw)
}

// optionalText returns a string, and "" for null or nothing.
func (f *fields) optionalText(key string) string {
	if f.absent(key) {
		return ""
	}
	return f.str(key, f.raw[key])
}

func (f *fields) str(key string, raw json.RawMessage) string {
	var s *string // stays nil for null
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		f.wrongType = append(f.wrongType, key+" must be a string")
		return ""
	}
	return *s
}

// flag returns an optional boolean, and otherwise what is usual.
func (f *fields) flag(key string, usual bool) bool {
	if f.absent(key) {
		return usual
	}
	return f.boolean(key)
}

// requiredFlag returns a required boolean.
func (f *fields) requiredFlag(key string) bool {
	if _, ok := f.raw[key]; !ok {
		f.missing = append(f.missing, key)
		return false
	}
	return f.boolean(key)
}

func (f *fields) boolean(key string) bool {
	var b *bool // stays nil for null
	if err := json.Unmarshal(f.raw[key], &b); err != nil || b == nil {
		f.wrongType = append(f.wrongType, key+" must be true or false")
		return false
	}
	return *b
}

// list returns a required array.
func (f *fields) list(key string) []json.RawMessage {
	raw, ok := f.raw[key]
	if !ok {
		f.missing = append(f.missing, key)
		return nil
	}
	var list []json.RawMessage // stays nil for null
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		f.wrongType = append(f.wrongType, key+" must be an array")
	}
	return list
}

// object returns a required object under the name key; its own keys are named
// <key>.<key of its>.
func (f *fields) object(key string) map[string]json.RawMessage {
	raw, ok := f.raw[key]
	if !ok {
		f.missing = append(f.missing, key)
		return nil
	}
	object, err := parseObject(raw)
	if err != nil {
		f.wrongType = append(f.wrongType, key+" "+err.Error())
	}
	return object
}

func (f *fields) absent(key string) bool {
	raw, ok := f.raw[key]
	return !ok || isNull(raw)
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// want notes a rule that a key breaks.
func (f *fields) want(ok bool, key, rule string) {
	if !ok {
		f.invalid = append(f.invalid, key+" "+rule)
	}
}

// err returns what is wrong: wrong types before missing keys before broken
// rules, because the later ones mean little while an earlier one stands.
func (f *fields) err() error {
	switch {
	case len(f.wrongType) > 0:
		return fail(badJSON, strings.Join(f.wrongType, "; "))
	case len(f.missing) > 0:
		return fail(missingParam, "missing: "+strings.Join(f.missing, ", "))
	case len(f.invalid) > 0:
		return fail(invalidParam, strings.Join(f.invalid, "; "))
	}
	return nil
}
