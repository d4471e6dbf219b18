package cli

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"poked/events"
)

func TestReadRecords(t *testing.T) {
	longest := strings.Repeat("x", events.MaxEventBytes)
	for _, tt := range []struct {
		name, in string
		want     []record
	}{
		{"nothing", "", nil},
		{"blank lines", "\n  \r\n\t", nil},
		{"numbers count blank lines", "\na\n\nb\n", []record{{line: 2, raw: []byte("a")}, {line: 4, raw: []byte("b")}}},
		{"no newline at the end", "a\r\nb", []record{{line: 1, raw: []byte("a")}, {line: 2, raw: []byte("b")}}},
		{"longest", longest + "\na", []record{{line: 1, raw: []byte(longest)}, {line: 2, raw: []byte("a")}}},
		{"longer", longest + "xxx\na", []record{{line: 1}, {line: 2, raw: []byte("a")}}},
		{"far longer, at the end", "a\n" + longest + longest + longest, []record{{line: 1, raw: []byte("a")}, {line: 2}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []record
			for rec, err := range readRecords("in", iotest.HalfReader(strings.NewReader(tt.in))) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, rec)
			}
			if len(got) != len(tt.want) {
				t.Fatalf("%d records, want %d", len(got), len(tt.want))
			}
			for i, want := range tt.want {
				if got[i].line != want.line || !bytes.Equal(got[i].raw, want.raw) || (got[i].raw == nil) != (want.raw == nil) {
					t.Errorf("record %d: line %d with %d bytes, want line %d with %d", i, got[i].line, len(got[i].raw), want.line, len(want.raw))
				}
			}
		})
	}
}

// A record must not change when later ones are read into the same buffer.
func TestReadRecordsMayBeKept(t *testing.T) {
	var in strings.Builder
	for c := 'a'; c <= 'z'; c++ {
		in.WriteString(strings.Repeat(string(c), events.MaxEventBytes/5) + "\n")
	}
	var kept []record
	for rec, err := range readRecords("in", strings.NewReader(in.String())) {
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, rec)
	}
	for i, rec := range kept {
		if want := byte('a' + i); bytes.Count(rec.raw, []byte{want}) != events.MaxEventBytes/5 {
			t.Errorf("record %d is no longer a line of %c", i, want)
		}
	}
}

func TestReadRecordsReportsReadErrors(t *testing.T) {
	broken := errors.New("broken")
	var last error
	for _, err := range readRecords("in", io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken))) {
		last = err
	}
	if !errors.Is(last, broken) || !strings.Contains(last.Error(), "in") {
		t.Errorf("last error is %v", last)
	}
}
