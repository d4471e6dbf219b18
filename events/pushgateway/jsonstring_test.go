package pushgateway

import (
	"bytes"
	"encoding/json"
	"testing"
)

// encodedString returns what encoding/json writes for s, without HTML escapes.
func encodedString(t *testing.T, s string) []byte {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// checkString checks that appendString appends valid JSON that decodes to the same text
// as the output of encoding/json.
func checkString(t *testing.T, s string) {
	t.Helper()
	got := appendString([]byte("x"), s)[1:]
	var ours, theirs string
	if err := json.Unmarshal(got, &ours); err != nil {
		t.Fatalf("%q: %s: %v", s, got, err)
	}
	if err := json.Unmarshal(encodedString(t, s), &theirs); err != nil {
		t.Fatal(err)
	}
	if ours != theirs {
		t.Fatalf("%q: %s reads as %q, want %q", s, got, ours, theirs)
	}
}

func TestAppendStringEveryByte(t *testing.T) {
	for c := range 256 {
		checkString(t, string([]byte{byte(c)}))
		checkString(t, string([]byte{'a', byte(c), 'b'}))
	}
}

func TestAppendString(t *testing.T) {
	for s, want := range map[string]string{
		"":                     `""`,
		"plain":                `"plain"`,
		`"\`:                   `"\"\\"`,
		"\n\r\t":               `"\n\r\t"`,
		"\x00\b\x1f":           `"\u0000\u0008\u001f"`,
		"\x7f</script>&":       "\"\x7f</script>&\"",
		"é漢😀\ufffd":            `"é漢😀` + "\ufffd" + `"`,
		"a\u2028\u2029b":       `"a\u2028\u2029b"`,
		"a\xff\xe6\xbc":        `"a\ufffd\ufffd\ufffd"`,
		"\xed\xa0\x80":         `"\ufffd\ufffd\ufffd"`, // half of a surrogate pair
		"\xf0\x9f\x98\x80\xf0": `"😀\ufffd"`,
	} {
		if got := string(appendString(nil, s)); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a\"b\\c", "\u2028\u2029", "\xff\xfe", "漢\x00😀"} {
		f.Add(s)
	}
	f.Fuzz(checkString)
}
