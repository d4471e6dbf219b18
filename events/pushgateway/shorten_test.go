package pushgateway

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShorten(t *testing.T) {
	n := []byte(`{"prio":"high","event_id":"$e","content":{"msgtype":"m.text","body":"* b","format":"f","formatted_body":"<b>",` +
		`"ciphertext":{"a":1},"m.new_content":{"body":"b","formatted_body":"<b>","x":12345678901234567890}}}`)
	for step, want := range map[Step]string{
		StepWhole: string(n),
		StepNoFormattedBody: `{"prio":"high","event_id":"$e","content":{"msgtype":"m.text","body":"* b",` +
			`"ciphertext":{"a":1},"m.new_content":{"body":"b","x":12345678901234567890}}}`,
		StepShortBody:    `{"prio":"high","event_id":"$e","content":{"msgtype":"m.text","body":"* b","ciphertext":{"a":1}}}`,
		StepNoCiphertext: `{"prio":"high","event_id":"$e","content":{"msgtype":"m.text","body":"* b"}}`,
	} {
		if got := Shorten(n, step, 0); string(got) != want {
			t.Errorf("step %d: %s, want %s", step, got, want)
		}
	}
	for _, odd := range []string{`{}`, `{"prio":"low"}`, `{"content":null}`, `{"content":[1]}`, `{"content":{"body":1,"m.new_content":2}}`} {
		if got := Shorten([]byte(odd), StepNoCiphertext, 100); !json.Valid(got) {
			t.Errorf("%s became %s", odd, got)
		}
	}
}

// The body loses as much as it has to, and little more; characters stay whole.
func TestShortenBody(t *testing.T) {
	for _, char := range []string{"x", "é", "😀", "\"", "\n", "\x01", "<"} {
		text := strings.Repeat(char, 4000)
		raw, err := json.Marshal(map[string]any{"content": map[string]any{"body": text}})
		if err != nil {
			t.Fatal(err)
		}
		for _, over := range []int{1, 10, 1000, len(raw) - 40} {
			got := Shorten(raw, StepShortBody, over)
			var read struct{ Content struct{ Body string } }
			if err := json.Unmarshal(got, &read); err != nil || !utf8.ValidString(read.Content.Body) || len(got) > len(raw)-over {
				t.Fatalf("%q, %d less: %d of %d bytes, %v", char, over, len(got), len(raw), err)
			}
			body, cut := strings.CutSuffix(read.Content.Body, "…")
			if !cut || !strings.HasPrefix(text, body) || char != "<" && len(got) < len(raw)-over-20 { // that is written shorter
				t.Errorf("%q, %d less: %d of %d bytes", char, over, len(got), len(raw))
			}
		}
		if got := Shorten(raw, StepShortBody, 2*len(raw)); !strings.Contains(string(got), `"body":"…"`) {
			t.Errorf("%q: nothing left is %s", char, got)
		}
	}
}

func TestStripBrowser(t *testing.T) {
	got, err := StripBrowser([]byte(`{"url":"https://x/","auth":"secret","a\u0075th":"secret","format":"event_id_only","x":{"auth":1}}`))
	if err != nil || string(got) != `{"format":"event_id_only","x":{"auth":1}}` {
		t.Errorf("stripped %s, %v", got, err)
	}
	if _, err := StripBrowser([]byte(`[]`)); err == nil {
		t.Error("no error for no object")
	}
}
