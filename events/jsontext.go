package events

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// MaxJSONDepth is the deepest nesting of JSON that poked passes on to push gateways. A
// poke wraps an event's content in two more objects, and the parsers of gateways give up
// at 64 (.NET), 100 (Ruby) or 128 (Rust) levels and refuse the whole poke.
const MaxJSONDepth = 60

// The reasons of [CheckJSON].
var (
	errNotUTF8   = errors.New("is not UTF-8")
	errHalfChar  = errors.New("escapes half of a character (a lone surrogate)")
	errNested    = fmt.Errorf("is nested deeper than %d levels", MaxJSONDepth)
	errBigNumber = errors.New("has a number that no float64 can hold")
)

// CheckJSON reports why valid JSON must not be passed on to push gateways, as a predicate
// such as "is not UTF-8". RFC 8259 lets parsers fail on such JSON; many do, and refuse
// the whole poke. A NUL in a string is fine. CheckJSON takes time linear in raw and does
// not recurse.
func CheckJSON(raw []byte) error {
	if !utf8.Valid(raw) {
		return errNotUTF8
	}
	depth := 0
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '"':
			n, whole := quotedLen(raw[i:])
			if !whole {
				return errHalfChar
			}
			i += n
			continue
		case c == '{', c == '[':
			if depth++; depth > MaxJSONDepth {
				return errNested
			}
		case c == '}', c == ']':
			depth--
		case c == '-', c >= '0' && c <= '9':
			n := numberLen(raw[i:])
			if !fitsFloat(raw[i : i+n]) {
				return errBigNumber
			}
			i += n
			continue
		}
		i++
	}
	return nil
}

// quotedLen returns the length of the JSON string at the beginning of text, with its
// quotes. whole is false if the string escapes a surrogate without its other half.
func quotedLen(text []byte) (n int, whole bool) {
	for i := 1; i < len(text); {
		next := bytes.IndexAny(text[i:], `"\`)
		if next < 0 {
			break
		}
		i += next
		if text[i] == '"' {
			return i + 1, true
		}
		unit := escapedUnit(text[i:])
		switch {
		case unit == 0:
			i += 2 // one byte follows the backslash
		case !utf16.IsSurrogate(unit):
			i += unitLen
		case utf16.DecodeRune(unit, escapedUnit(text[min(i+unitLen, len(text)):])) == utf8.RuneError:
			return 0, false
		default:
			i += 2 * unitLen
		}
	}
	return len(text), true
}

// unitLen is the length of an escaped UTF-16 unit, \uXXXX, in bytes.
const unitLen = 6

// escapedUnit returns the UTF-16 unit that text escapes at its beginning (\uXXXX), or 0.
func escapedUnit(text []byte) rune {
	if len(text) < unitLen || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	unit, err := strconv.ParseUint(string(text[2:unitLen]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(unit)
}

// numberLen returns the length of the JSON number at the beginning of text.
func numberLen(text []byte) int {
	for i, c := range text {
		isPart := c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
		if !isPart {
			return i
		}
	}
	return len(text)
}

// fitsFloat reports whether a JSON number is within the range of a float64.
func fitsFloat(number []byte) bool {
	const always = 300 // this many digits fit
	if len(number) <= always && !bytes.ContainsAny(number, "eE") {
		return true
	}
	_, err := strconv.ParseFloat(string(number), 64)
	return err == nil
}

// IsObject reports whether raw, which is valid JSON without leading space, is an object.
func IsObject(raw []byte) bool { return len(raw) >= 2 && raw[0] == '{' }

// HasTwice reports whether an object contains a key twice. Some parsers take the first
// value and others the last.
func HasTwice(object gjson.Result) bool {
	var few [8]string
	keys, twice := few[:0], false
	var many map[string]bool
	object.ForEach(func(key, _ gjson.Result) bool {
		if many != nil {
			twice = many[key.Str]
			many[key.Str] = true
			return !twice
		}
		twice = slices.Contains(keys, key.Str)
		if keys = append(keys, key.Str); len(keys) == len(few) {
			many = make(map[string]bool, 2*len(few))
			for _, k := range keys {
				many[k] = true
			}
		}
		return !twice
	})
	return twice
}
