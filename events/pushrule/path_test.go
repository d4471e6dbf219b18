package pushrule

import (
	"slices"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for path, want := range map[string][]string{
		"":            {""},
		".":           {"", ""},
		"a.b":         {"a", "b"},
		`a\.b.c`:      {"a.b", "c"},
		`a\\.b`:       {`a\`, "b"},
		`a\b.\`:       {`a\b`, `\`},
		`content.m\.`: {"content", "m."},
	} {
		if got := parsePath(path); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// FuzzPath checks that names survive being written as a path and parsed again, also the names parsed from any text.
func FuzzPath(f *testing.F) {
	f.Add(`content.m\.relates_to.\\.\a`)
	escape := strings.NewReplacer(`\`, `\\`, ".", `\.`)
	f.Fuzz(func(t *testing.T, path string) {
		names := parsePath(path)
		var escaped []string
		for _, name := range names {
			escaped = append(escaped, escape.Replace(name))
		}
		if again := parsePath(strings.Join(escaped, ".")); !slices.Equal(again, names) {
			t.Errorf("%q was parsed as %q, then as %q", path, names, again)
		}
	})
}
