package homeserver

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"encoding/json"
)

// FuzzAnswer checks that every answer is either good or one of three errors, and that
// only an error of the homeserver itself means an unknown token.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"user_id":"@alice:example.org"}`))
	f.Add(401, []byte(`{"errcode":"M_UNKNOWN_TOKEN","soft_logout":true}`))
	f.Add(401, []byte(`who are you?`))
	f.Add(429, []byte(`{"errcode":"M_LIMIT_EXCEEDED"}`))
	f.Add(404, []byte(`{"errcode":"M_UNRECOGNIZED"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		err := (&Answer{Status: status, Body: body}).asError()
		if (err == nil) != (status/100 == 2) {
			t.Fatalf("%d is %v", status, err)
		}
		if err == nil {
			return
		}
		kinds := 0
		for _, kind := range []error{ErrUnknownToken, ErrRefused, ErrCannotTell} {
			if errors.Is(err, kind) {
				kinds++
			}
		}
		if kinds != 1 || errors.Is(err, ErrUnknownToken) && (status != http.StatusUnauthorized || !strings.Contains(string(body), "errcode")) {
			t.Errorf("%d %q is %v", status, body, err)
		}
		if len(err.Error()) > 200 || strings.ContainsAny(err.Error(), "\r\n\x1b") {
			t.Errorf("%q is logged as %q", body, err)
		}
	})
}

// FuzzRoomState checks that an array is read to its end, or is an error.
func FuzzRoomState(f *testing.F) {
	for _, body := range []string{"[]", `[{"type":"m.room.create"},{}]`, "[{},", "[{}", "{}", "", "[[[[", "[1 2]", "[]x"} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		n := 0
		err := eachElement(strings.NewReader(body), func(element json.RawMessage, err error) bool {
			if err != nil || !json.Valid(element) {
				t.Errorf("%q has the element %q, %v", body, element, err)
			}
			n++
			return true
		})
		var all []json.RawMessage
		if whole := json.Unmarshal([]byte(body), &all); whole == nil && all != nil && (err != nil || n != len(all)) {
			t.Errorf("%q: %d of %d elements, %v", body, n, len(all), err)
		}
	})
}

// FuzzRegistration checks that no harmful registration is accepted, and that no error
// contains a token.
func FuzzRegistration(f *testing.F) {
	f.Add([]byte("id: poked\nas_token: aaaaaaaaaaaaaaaaaaaa\nhs_token: bbbbbbbbbbbbbbbbbbbb\nnamespaces:\n  users:\n  - exclusive: false\n    regex: '@.*:example\\.org'\n"))
	f.Add([]byte("namespaces: {users: [{regex: '('}]}"))
	f.Add([]byte("&a [*a, *a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRegistration(text)
		if err != nil {
			if len(err.Error()) > 200 {
				t.Errorf("%q", err)
			}
			return
		}
		if len(r.ASToken) < minTokenBytes || len(r.HSToken) < minTokenBytes || r.ASToken == r.HSToken || len(r.users) == 0 {
			t.Errorf("%q is accepted", text)
		}
		_ = r.IsLocal("@alice:example.org")
	})
}
