// Package request reads what clients send: bodies of requests that set pushers and push rules,
// with every limit that the specification or a NATS message sets ([ParseSet], [ParseRule],
// [ParsePlace]), and JSON objects in general ([ParseFields]). It names all faults of a body in one
// error, a [problem.Error], and changes nothing.
//
// What it lets pass is valid JSON without duplicate keys and with valid UTF-8, since parts of it
// go to push gateways.
package request

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"poked/events"
	"poked/registry/problem"
)

// Fields reads the keys of a JSON object and collects every error, so that the client
// gets all of them in one answer.
type Fields struct {
	raw       map[string]json.RawMessage
	wrongType []string // "<key> must be a string"
	missing   []string // keys
	invalid   []string // "<key> must have at most 64 characters"
}

// ParseFields reads a request body that must be one JSON object.
func ParseFields(body []byte) (*Fields, error) {
	// encoding/json would replace invalid UTF-8 silently.
	if !utf8.Valid(body) || !json.Valid(body) {
		return nil, problem.New(problem.NotJSON, "the request body is not JSON")
	}
	if err := events.CheckJSON(body); err != nil { // parts of it go to push gateways
		return nil, problem.New(problem.BadJSON, "the request body "+err.Error())
	}
	raw, err := ParseObject(body)
	if err != nil {
		return nil, problem.New(problem.BadJSON, "the request body "+err.Error())
	}
	return &Fields{raw: raw}, nil
}

var (
	errNotObject = errors.New("must be a JSON object")
	errTwice     = errors.New("has a duplicate key")
)

// ParseObject splits a valid JSON object into its keys. encoding/json would ignore the
// case of keys and take the last of two equal keys, where another reader of the same
// bytes may take the first.
func ParseObject(raw []byte) (map[string]json.RawMessage, error) {
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
		key, _ := token.(string) // a key of valid JSON is always a string
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

// Text returns a required string.
func (f *Fields) Text(key string) string {
	raw, ok := f.raw[key]
	if !ok {
		f.missing = append(f.missing, key)
		return ""
	}
	return f.str(key, raw)
}

// optionalText returns a string, or "" if the key is null or absent.
func (f *Fields) optionalText(key string) string {
	if f.absent(key) {
		return ""
	}
	return f.str(key, f.raw[key])
}

func (f *Fields) str(key string, raw json.RawMessage) string {
	var s *string // stays nil for null
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		f.wrongType = append(f.wrongType, key+" must be a string")
		return ""
	}
	return *s
}

// flag returns an optional boolean, or the given default if it is null or absent.
func (f *Fields) flag(key string, usual bool) bool {
	if f.absent(key) {
		return usual
	}
	return f.boolean(key)
}

// RequiredFlag returns a required boolean.
func (f *Fields) RequiredFlag(key string) bool {
	if _, ok := f.raw[key]; !ok {
		f.missing = append(f.missing, key)
		return false
	}
	return f.boolean(key)
}

func (f *Fields) boolean(key string) bool {
	var b *bool // stays nil for null
	if err := json.Unmarshal(f.raw[key], &b); err != nil || b == nil {
		f.wrongType = append(f.wrongType, key+" must be true or false")
		return false
	}
	return *b
}

// list returns a required array.
func (f *Fields) list(key string) []json.RawMessage {
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

// object returns the required object at a key. Error messages name its own keys
// <key>.<inner key>.
func (f *Fields) object(key string) map[string]json.RawMessage {
	raw, ok := f.raw[key]
	if !ok {
		f.missing = append(f.missing, key)
		return nil
	}
	object, err := ParseObject(raw)
	if err != nil {
		f.wrongType = append(f.wrongType, key+" "+err.Error())
	}
	return object
}

func (f *Fields) absent(key string) bool {
	raw, ok := f.raw[key]
	return !ok || IsNull(raw)
}

// IsNull reports whether a value is null.
func IsNull(raw json.RawMessage) bool { return string(raw) == "null" }

// Want records an error for a key unless ok.
func (f *Fields) Want(ok bool, key, rule string) {
	if !ok {
		f.invalid = append(f.invalid, key+" "+rule)
	}
}

// Err returns the collected errors of one kind: wrong types before missing keys before
// invalid values, since an error of an earlier kind may cause those of a later one.
func (f *Fields) Err() error {
	switch {
	case len(f.wrongType) > 0:
		return problem.New(problem.BadJSON, strings.Join(f.wrongType, "; "))
	case len(f.missing) > 0:
		return problem.New(problem.MissingParam, "missing: "+strings.Join(f.missing, ", "))
	case len(f.invalid) > 0:
		return problem.New(problem.InvalidParam, strings.Join(f.invalid, "; "))
	}
	return nil
}
