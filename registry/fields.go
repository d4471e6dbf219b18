package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"poked/events"
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
	if err := events.CheckJSON(body); err != nil { // parts of it go to push gateways
		return nil, fail(badJSON, "the request body "+err.Error())
	}
	raw, err := parseObject(body)
	if err != nil {
		return nil, fail(badJSON, "the request body "+err.Error())
	}
	return &fields{raw: raw}, nil
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
