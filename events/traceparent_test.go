package events_test

import (
	"strings"
	"testing"

	"poked/events"
)

// What W3C Trace Context calls valid is kept, all else is ignored.
func TestParseTraceParent(t *testing.T) {
	const ids = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
	for text, want := range map[string]string{
		"00-" + ids + "-01":                                      "00-" + ids + "-01",
		"00-" + ids + "-00":                                      "00-" + ids + "-00",
		"cc-" + ids + "-01":                                      "00-" + ids + "-01",
		"cc-" + ids + "-01-what-the-future-brings":               "00-" + ids + "-01",
		"cc-" + ids + "-01.what":                                 "",
		"00-" + ids + "-01-more":                                 "",
		"ff-" + ids + "-01":                                      "",
		"00-" + ids + "-0g":                                      "",
		"00-" + ids + "-1":                                       "",
		"00-" + strings.ToUpper(ids) + "-01":                     "",
		"00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01": "",
		"00-0af7651916cd43dd8448eb211c80319c-" + strings.Repeat("0", 16) + "-01": "",
		"00_" + ids + "-01": "",
		"00-" + strings.Replace(ids, "-", "_", 1) + "-01": "",
		"": "",
		"\r\nHost: elsewhere" + strings.Repeat("0", 60): "",
	} {
		if got := events.ParseTraceParent(text); string(got) != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
