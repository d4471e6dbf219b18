package pushrule

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func matchesWhole(pattern, text string) bool {
	g := newGlob(pattern)
	return g.matchWhole(appendFold(nil, text))
}

func matchesWords(pattern, text string) bool {
	g := newGlob(pattern)
	return g.matchWords(&body{text: appendFold(nil, text)})
}

func TestGlobWholeValue(t *testing.T) {
	long := strings.Repeat("ab", 100)
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"**", "a\nb", true},
		{"?", "", false},
		{"?", "é", true},
		{"?", "👩‍💻", false}, // more than one code point
		{"???", "👩‍💻", true},
		{"a*", "a", true},
		{"a*a", "a", false}, // the first and last segments must not overlap
		{"a*a", "aa", true},
		{"ab*b*ba", "abba", false},
		{"ab*b*ba", "ab b ba", true},
		{"*?*", "", false},
		{"*a?c*", "xxabcxx", true},
		{"*a?c*", "xxab", false},
		{"*é", "CAFÉ", true},
		{"*?é", "é", false},
		{"[ab]", "a", false},
		{`\*`, `\x`, true},
		{"STRASSE", "straße", false},
		{"s", "ſ", false}, // simple folding, but never to ASCII
		{"ſ*", "ſk", true},
		{long, strings.ToUpper(long), true},
		{"*" + long + "?*", "b" + long, false},
		{"*" + long + "?*", "b" + long + "c", true},
	} {
		if got := matchesWhole(test.pattern, test.text); got != test.want {
			t.Errorf("%q in %q: got %t, want %t", test.pattern, test.text, got, test.want)
		}
	}
}

func TestGlobWords(t *testing.T) {
	long := strings.Repeat("-aa", 20)
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"", "a", true},
		{"*", "", true},
		{"cake", "Cake!", true},
		{"cake", "cheesecake, cake_ 1cake", false},
		{"cake", "cupcake cake", true},
		{"cake", "écake", true}, // é is not a word character
		{"@room", "a@room", true},
		{"@room", "@rooms", false},
		{"an example", "An example event.", true},
		{"an example", "example an examples, man example", false},
		{"an example!", "example! an example", false},
		{"an example!", "so an example! an example", true}, // not at the last occurrence of its words
		{"!an example", "an example, xan example !AN EXAMPLE", true},
		{"ex*ple", "An exciting triple-whammy", true},
		{"ex*ple", "An exciting triplet", false},
		{"*ple", "triple", true},
		{"*aa", "aaa", true},
		{"tri*", "ab_tri", false},
		{"c?ke", "a coke", true},
		{"c?ke", "a cokes", false},
		{"?", "", false},
		{"?", "ab", false},
		{"?", "ab c", true},
		{"a?", "aé", true},
		{"a?c?", "xa c ", false},
		{"a*b*c", "a c b", false},
		{"a*b*c", "xa a b cx c", true},
		{long + "-a", strings.Repeat(long, 3), false}, // matches everywhere, but never ends at a boundary
		{long + "-a", strings.Repeat(long, 3) + "-a", true},
		{long + "-a", long, false},
	} {
		if got := matchesWords(test.pattern, test.text); got != test.want {
			t.Errorf("%q in %q: got %t, want %t", test.pattern, test.text, got, test.want)
		}
	}
}

// hostile returns patterns and bodies on which naive matchers backtrack.
func hostile() map[string]struct{ pattern, body string } {
	return map[string]struct{ pattern, body string }{
		"stars":     {strings.Repeat("a*", 200) + "b", strings.Repeat("a ", 30_000)},
		"questions": {strings.Repeat("?", 200) + "b", strings.Repeat("a ", 30_000)},
		"both":      {strings.Repeat("*?a", 100) + "b", strings.Repeat("a", 60_000)},
		"words":     {strings.Repeat("a ", 200) + "b", strings.Repeat("a ", 30_000)},
		"periods":   {strings.Repeat("-aa", 200) + "-a", strings.Repeat("-aa", 20_000)},
		"starts":    {"a-a*b", strings.Repeat("a", 60_000)},
	}
}

// TestGlobHostile would run for years if a match backtracked.
func TestGlobHostile(t *testing.T) {
	for name, pair := range hostile() {
		if matchesWords(pair.pattern, pair.body) {
			t.Errorf("%s: matches, but must not", name)
		}
	}
}

// TestFoldAllRunes compares the shortcuts of folding with the Unicode tables, for every rune.
func TestFoldAllRunes(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		folded, _ := utf8.DecodeRune(appendFold(nil, string(r)))
		if (folded < utf8.RuneSelf) != (r < utf8.RuneSelf) {
			t.Errorf("%U folds to %U, across the border of ASCII", r, folded)
		}
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			got, _ := utf8.DecodeRune(appendFold(nil, string(other)))
			if got != folded && (other < utf8.RuneSelf) == (r < utf8.RuneSelf) {
				t.Errorf("%U folds to %U, its variant %U to %U", r, folded, other, got)
			}
		}
	}
}

func TestWordSet(t *testing.T) {
	set := newWordSet([]byte("one two, two: thr_33 é four 5 6 7 8"))
	if words, places := 9, len(set.table); places < 2*words {
		t.Errorf("%d slots for %d words: a search for another word may never end", places, words)
	}
	for text, want := range map[string]uint32{"one": 1, "two": 2, "thr_33": 1, "four": 1, "8": 1,
		"": 0, "thr": 0, "é": 0, "fourth": 0, "one two": 0} {
		if got := set.find(hashWord([]byte(text)), []byte(text)).count; got != want {
			t.Errorf("%q has %d occurrences, want %d", text, got, want)
		}
	}
}

// FuzzGlob compares with the plain matcher, which is slow: inputs are short, but long enough for every search
// algorithm.
func FuzzGlob(f *testing.F) {
	f.Add("ex*p?e", "An exciting triple-whammy")
	f.Add("?⚡*", "a⚡ é")
	f.Add(strings.Repeat("-aa", 30)+"?*", strings.Repeat("-aa", 80))
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 300 || len(text) > 300 {
			t.Skip()
		}
		pattern, text = strings.ToValidUTF8(pattern, "\uFFFD"), strings.ToValidUTF8(text, "\uFFFD")
		if got, want := matchesWhole(pattern, text), plainGlob(pattern, text); got != want {
			t.Errorf("whole: got %t, want %t", got, want)
		}
		if got, want := matchesWords(pattern, text), plainWords(pattern, text, true); got != want {
			t.Errorf("words: got %t, want %t", got, want)
		}
	})
}
