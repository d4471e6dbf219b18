package pushgateway

import (
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// A Step is how much is left out of a notification that is too large for a push service. Each
// step leaves out what those before it do.
type Step uint8

// The steps. With StepEventIDOnly there is no notification to shorten any more: see
// [AppendEventIDOnlyBody].
const (
	StepWhole           Step = iota
	StepNoFormattedBody      // without content.formatted_body: body has the same as text
	StepShortBody            // with as much of content.body as there is room for
	StepNoCiphertext         // without content.ciphertext: clients fetch the event
	StepEventIDOnly
)

// cut ends a body that was shortened.
const cut = "…"

// Shorten returns a notification that AppendJSON built without what a step leaves out. over is how
// many bytes it is to become shorter; only StepShortBody heeds that. The notification itself is
// not changed.
func Shorten(notification []byte, step Step, over int) []byte {
	if step == StepWhole {
		return notification
	}
	return replace(notification, "content", func(content gjson.Result) []byte {
		if !content.IsObject() {
			return []byte(content.Raw)
		}
		raw := shortenContent([]byte(content.Raw), step)
		if step >= StepShortBody {
			raw = shortenBody(raw, over-(len(content.Raw)-len(raw)))
		}
		return raw
	})
}

// shortenContent leaves whole members out of an event's content.
func shortenContent(content []byte, step Step) []byte {
	out := filter(content, func(key string) bool {
		switch key {
		case "formatted_body", "format":
			return false
		case "m.new_content": // body has the new text as well
			return step < StepShortBody
		case "ciphertext":
			return step < StepNoCiphertext
		}
		return true
	})
	if step < StepShortBody {
		out = replace(out, "m.new_content", func(edit gjson.Result) []byte { return shortenContent([]byte(edit.Raw), step) })
	}
	return out
}

// shortenBody shortens the body of a content by some bytes, as far as it goes.
func shortenBody(content []byte, over int) []byte {
	if over <= 0 {
		return content
	}
	return replace(content, "body", func(body gjson.Result) []byte {
		if body.Type != gjson.String {
			return []byte(body.Raw)
		}
		room := max(0, len(body.Raw)-over)
		text := truncate(body.Str, room)
		for {
			short := appendString(nil, text+cut)
			if len(short) <= room || text == "" {
				return short
			}
			text = truncate(text, len(text)-max(1, (len(short)-room)/6)) // a byte takes at most six of the JSON
		}
	})
}

// truncate returns the whole characters in the first n bytes of a text.
func truncate(text string, n int) string {
	if n >= len(text) {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// filter returns a JSON object with the members whose keys are to be kept. Their values keep their
// bytes. What is no object is returned unchanged.
func filter(object []byte, keep func(key string) bool) []byte {
	out := append(make([]byte, 0, len(object)), '{')
	parsed := gjson.ParseBytes(object)
	if !parsed.IsObject() {
		return object
	}
	parsed.ForEach(func(key, value gjson.Result) bool {
		if keep(key.String()) {
			out = appendMember(out, key.Raw, []byte(value.Raw))
		}
		return true
	})
	return append(out, '}')
}

// replace returns a JSON object with another value at a key, if the object has it.
func replace(object []byte, at string, with func(gjson.Result) []byte) []byte {
	out := append(make([]byte, 0, len(object)), '{')
	parsed := gjson.ParseBytes(object)
	if !parsed.IsObject() {
		return object
	}
	parsed.ForEach(func(key, value gjson.Result) bool {
		raw := []byte(value.Raw)
		if key.String() == at {
			raw = with(value)
		}
		out = appendMember(out, key.Raw, raw)
		return true
	})
	return append(out, '}')
}

func appendMember(object []byte, key string, value []byte) []byte {
	if len(object) > 1 {
		object = append(object, ',')
	}
	return append(append(append(object, key...), ':'), value...)
}

// StripBrowser is [StripURL] for a browser's data (MSC4174): without its secret, too.
func StripBrowser(data []byte) ([]byte, error) {
	stripped, err := StripURL(data)
	if err != nil {
		return nil, err
	}
	return filter(stripped, func(key string) bool { return key != "auth" }), nil
}
