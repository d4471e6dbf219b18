package registry

import "testing"

func TestHasLoneSurrogate(t *testing.T) {
	for body, want := range map[string]bool{
		`{"a":"plain"}`:                 false,
		`{"a":"\ud83d\ude00"}`:          false,
		`{"a":"\u00e9 \\ud800 \n \"x"}`: false,
		`{"a":"\ud800"}`:                true,
		`{"a":"\udc00\ud800"}`:          true,
		`{"a":"\ud800\u0041"}`:          true,
		`{"a":"\ud83d\ude00\ud83d"}`:    true,
		`{"a":"\\\ud800"}`:              true,
	} {
		if got := hasLoneSurrogate([]byte(body)); got != want {
			t.Errorf("%s: %t, want %t", body, got, want)
		}
	}
}
