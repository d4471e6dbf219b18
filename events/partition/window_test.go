package partition

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"poked/events/stream"
)

func TestWindowPosition(t *testing.T) {
	w := newWindow(Position{Next: 10, Open: []uint64{4, 7}})
	check := func(open int, next uint64, left ...uint64) {
		t.Helper()
		pos := w.position()
		if w.open() != open || pos.Next != next || !slices.Equal(pos.Open, left) {
			t.Errorf("%d open, position %d without %v; want %d, %d without %v", w.open(), pos.Next, pos.Open, open, next, left)
		}
	}
	check(0, 10, 4, 7) // nothing was received again yet, so everything is still open
	w.take(4, nil, time.Time{})
	check(1, 10, 4, 7)
	w.finish(4)
	check(0, 10, 7)
	w.take(7, nil, time.Time{})
	w.take(11, nil, time.Time{})
	w.take(13, nil, time.Time{}) // 12 belongs to another partition
	check(3, 13, 7, 11, 13)
	w.finish(13)
	w.finish(13) // finishing twice has no effect
	w.finish(12) // of another partition
	check(2, 13, 7, 11)
	w.finish(7)
	w.finish(11)
	check(0, 13)
}

// An open sequence that never arrived again can be finished.
func TestWindowFinishesWhatWasNotTaken(t *testing.T) {
	w := newWindow(Position{Next: 10, Open: []uint64{4}})
	w.finish(4)
	if pos := w.position(); w.open() != 0 || len(pos.Open) != 0 {
		t.Errorf("%d open, position %+v", w.open(), pos)
	}
}

func TestWindowIsDirtyOnceSomethingIsDone(t *testing.T) {
	w := newWindow(Position{})
	w.take(1, nil, time.Time{})
	if w.dirty() {
		t.Error("dirty before anything is done")
	}
	w.finish(1)
	if !w.dirty() {
		t.Error("not dirty after something was done")
	}
	w.position()
	if w.dirty() {
		t.Error("dirty after the position was taken")
	}
	w.touch()
	if !w.dirty() {
		t.Error("not dirty after the position was not stored")
	}
}

// The window behaves like a simple set, whatever the order, and keeps only open
// entries.
func TestWindowAgainstASet(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	w := newWindow(Position{})
	open := map[uint64]bool{}
	var next uint64
	for range 20_000 {
		if len(open) < 50 && dice.IntN(2) == 0 {
			next += 1 + dice.Uint64N(3)
			w.take(next, nil, time.Time{})
			open[next] = true
			continue
		}
		seq := next - min(next, dice.Uint64N(120))
		w.finish(seq)
		delete(open, seq)
	}
	var left []uint64
	for seq := range open {
		left = append(left, seq)
	}
	slices.Sort(left)
	pos := w.position()
	if pos.Next != next || fmt.Sprint(pos.Open) != fmt.Sprint(left) || w.open() != len(left) {
		t.Errorf("position %+v, want %d without %v", pos, next, left)
	}
	for seq := range open {
		w.finish(seq)
	}
	if len(w.entries)-w.head != 0 || cap(w.entries) > 100_000 {
		t.Errorf("%d entries are kept", len(w.entries)-w.head)
	}
}

// TestWindowLog checks after which place in NOTIFICATIONS a successor looks for what was
// written: that of the oldest open message which may yet write.
func TestWindowLog(t *testing.T) {
	mark := func(first, second uint64) stream.LogMark { return stream.LogMark{first, second} }
	w := newWindow(Position{Next: 10, Open: []uint64{4, 7}, Wrote: []uint64{7}, Log: mark(100, 9100)})
	check := func(what string, log stream.LogMark, wrote ...uint64) {
		t.Helper()
		if pos := w.position(); !slices.Equal(pos.Log, log) || !slices.Equal(pos.Wrote, wrote) {
			t.Errorf("%s: log %d, wrote %v; want %d, %v", what, pos.Log, pos.Wrote, log, wrote)
		}
	}
	check("as the predecessor left it", mark(100, 9100), 7)
	first, _ := w.take(4, mark(500, 9500), time.Time{})
	second, _ := w.take(7, mark(500, 9500), time.Time{})
	if first || !second {
		t.Error("7 has written everything, and 4 has not")
	}
	if !slices.Equal(w.logOf(4), mark(100, 9100)) {
		t.Error("the predecessor may have written what 4 causes")
	}
	w.advance(mark(500, 9500))
	check("4 is open", mark(100, 9100), 7)
	w.take(11, mark(500, 9700), time.Time{})
	w.finish(4)
	check("11 is open", mark(500, 9500), 7)
	w.advance(mark(900, 9900))
	check("one stream was behind", mark(500, 9700), 7)
	w.wrote(11)
	check("all have written", mark(900, 9900), 7, 11)
	w.take(12, mark(900, 9900), time.Time{})
	w.cut(mark(800, 9950))
	w.advance(mark(950, 9950))
	check("the log has lost its end, and grown again", mark(800, 9900), 7, 11)
	w.finish(12)
	w.finish(7)
	w.finish(11)
	if w.position(); w.dirty() {
		t.Error("the position was just taken")
	}
	if w.advance(mark(951, 9951+refreshAfter)); !w.dirty() {
		t.Error("a successor would have to read too much")
	}
	newWindow(Position{}).cut(mark(1, 2))
}

// A mark of a log of one stream is stored as it always was.
func TestLogMark(t *testing.T) {
	for want, mark := range map[string]stream.LogMark{
		`{}`: nil, `{"log":7}`: {7}, `{"log":[0,281474976710663]}`: {0, 1<<48 + 7},
	} {
		var value struct {
			Log stream.LogMark `json:"log,omitzero"`
		}
		value.Log = mark
		raw, err := json.Marshal(value)
		if value.Log = nil; err != nil || string(raw) != want || json.Unmarshal(raw, &value) != nil || !slices.Equal(value.Log, mark) {
			t.Errorf("%d is stored as %s and read as %d: %v", mark, raw, value.Log, err)
		}
	}
	for _, none := range []stream.LogMark{nil, {0}, {0, 0}} {
		if !none.IsZero() || none.At(5) != 0 {
			t.Errorf("%d is the beginning of the log", none)
		}
	}
}
