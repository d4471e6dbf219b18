package poke

import (
	"fmt"
	"testing"
	"time"
)

// Every class and kind has a name, of its own, and a class is read back from a record
// by its name.
// What is recorded of an attempt names the same failure as the attempt itself.
func TestFailureOf(t *testing.T) {
	for want, out := range map[string]Outcome{
		"http_404": {Class: ClassHTTP4xx, Status: 404}, "http_429": {Class: ClassHTTP429, Status: 429}, "timeout": {Class: ClassTimeout},
		"rejected": {Class: ClassRejected, Status: 200}, "body_too_large": {Class: ClassBodyTooLarge, Status: 200}, "": {Status: 200},
	} {
		if got := FailureOf(out.Class.String(), out.Status); got != out.Failure() || got.String() != want {
			t.Errorf("%+v: %q, want %q", out, got, want)
		}
	}
}

func TestEveryClassAndKindHasItsName(t *testing.T) {
	names := map[string]bool{}
	for c := range Classes {
		name := c.String()
		if name == "" || names[name] {
			t.Errorf("class %d has the name %q, which is empty or another's", c, name)
		}
		names[name] = true
		if got := ParseFailure(Because(c).String()); got.Class != c {
			t.Errorf("class %s is read back as %s", c, got.Class)
		}
	}
	kinds := map[string]bool{}
	for k := range Kinds {
		if name := k.String(); name == "" || kinds[name] {
			t.Errorf("kind %d has the name %q, which is empty or another's", k, name)
		}
		kinds[k.String()] = true
	}
}

// A record keeps the exact status, and its class is the one that the outcome had.
func TestFailuresAreReadBack(t *testing.T) {
	for status := 100; status < 600; status++ {
		out := Decide(Answer{Status: status, Body: []byte("{}")}, "key", time.Now())
		text := out.Failure().String()
		want := fmt.Sprintf("http_%d", status)
		if status/100 == 2 {
			want = ""
		}
		if text != want || ParseFailure(text) != out.Failure() {
			t.Errorf("status %d: written as %q, read back as %v, want %q and %v", status, text, ParseFailure(text), want, out.Failure())
		}
	}
	for text, want := range map[string]Failure{
		"":          {},
		"ok":        {},
		"timeout":   Because(ClassTimeout),
		"rejected":  Because(ClassRejected),
		"http_5xx":  Because(ClassHTTP5xx),
		"http_502":  {ClassHTTP5xx, 502},
		"http_429":  {ClassHTTP429, 429},
		"http_200":  Because(ClassOther),
		"http_600":  Because(ClassOther),
		"http_-12":  Because(ClassOther),
		"http_5022": Because(ClassOther),
		"weather":   Because(ClassOther),
	} {
		if got := ParseFailure(text); got != want {
			t.Errorf("%q is read as %v, want %v", text, got, want)
		}
	}
}
