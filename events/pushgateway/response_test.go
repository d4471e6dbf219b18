package pushgateway

import (
	"bytes"
	"strings"
	"testing"
)

func TestReadRejected(t *testing.T) {
	const million = 1_000_000
	for _, c := range []struct {
		name, body string
		want       bool
	}{
		{"ours", `{"rejected":["key"]}`, true},
		{"ours among others", `{"x":[{"rejected":[]}],"rejected":["a","key","b"]}`, true},
		{"ours with white space", " {\n\"rejected\" : [ \"key\" ] } \n", true},
		{"ours escaped", `{"rejected":["\u006bey"]}`, true},
		{"ours beside odd entries", `{"rejected":[null,1,{"a":"key"},["key"],"key"]}`, true},

		{"empty body", "", false},
		{"white space", " \n", false},
		{"empty object", "{}", false},
		{"empty list", `{"rejected":[]}`, false},
		{"foreign keys", `{"rejected":["a","keykey","Key","key "]}`, false},
		{"a string", `{"rejected":"key"}`, false},
		{"an object", `{"rejected":{"key":"key"}}`, false},
		{"null", `{"rejected":null}`, false},
		{"nested entries", `{"rejected":[["key"],{"key":"key"}]}`, false},
		{"elsewhere", `{"result":{"rejected":["key"]}}`, false},
		{"a list", `[{"rejected":["key"]}]`, false},
		{"no JSON", `<html>{"rejected":["key"]}</html>`, false},
		{"cut off", `{"rejected":["key"]`, false},
		{"two answers", `{"rejected":["key"]}{"rejected":["key"]}`, false},
		{"number", `42`, false},
		{"not UTF-8", "\xff\xfe{\"rejected\":[\"key\"]}", false},
		{"deep", `{"rejected":` + strings.Repeat("[", million) + `"key"`, false},
		{"deep and closed", `{"rejected":` + strings.Repeat("[", million) + `"key"` + strings.Repeat("]", million) + `}`, false},
		{"a million foreign keys", `{"rejected":[` + strings.Repeat(`"a",`, million) + `"b"]}`, false},
		{"ours after a million", `{"rejected":[` + strings.Repeat(`"a",`, million) + `"key"]}`, true},
	} {
		if got := ReadRejected([]byte(c.body), "key"); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

// A number in the list is not a pushkey, even if it is written like one.
func TestReadRejectedDistinguishesNumbersFromKeys(t *testing.T) {
	if ReadRejected([]byte(`{"rejected":[12],"":""}`), "12") {
		t.Error("a number counts as the pushkey")
	}
	if !ReadRejected([]byte(`{"rejected":["12"]}`), "12") {
		t.Error("the pushkey was not found")
	}
}

// The list is read in place: a long answer needs no memory of its own.
func TestReadRejectedAllocatesNothingPerEntry(t *testing.T) {
	long := []byte(`{"rejected":[` + strings.Repeat(`"a",`, 100_000) + `"b"]}`)
	if got := testing.AllocsPerRun(5, func() { ReadRejected(long, "key") }); got > 20 {
		t.Errorf("%v allocations for 100 000 entries", got)
	}
}

func FuzzReadRejected(f *testing.F) {
	for _, body := range []string{`{"rejected":["key"]}`, `{"rejected":[{},[],"a\u0000"]}`, `{`, `"rejected"`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if ReadRejected(body, "key") && !bytes.Contains(body, []byte("[")) {
			t.Fatalf("%q rejects without a list", body)
		}
	})
}

func BenchmarkReadRejected(b *testing.B) {
	body := []byte(`{"rejected":[]}`)
	b.ReportAllocs()
	for b.Loop() {
		if ReadRejected(body, "key") {
			b.Fatal("rejected")
		}
	}
}

// A decoded answer never exceeds the limit, however it is compressed.
func FuzzDecode(f *testing.F) {
	f.Add("gzip", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"))
	f.Add("deflate", []byte("\x78\x9c"))
	f.Add("", []byte("\xff\xfe{\x00}\x00"))
	f.Add("", []byte("\x00{\x00}"))
	f.Add("br", []byte(`{"rejected":["key"]}`))
	f.Fuzz(func(t *testing.T, encoding string, body []byte) {
		plain, err := Decode(encoding, body)
		if err != nil && plain != nil || len(plain) > max(3*MaxResponseBytes, 2*len(body)) {
			t.Errorf("%d bytes, %v", len(plain), err)
		}
		ReadRejected(plain, "key")
	})
}
