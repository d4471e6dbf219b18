package partition

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
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
	w.take(4, 0)
	check(1, 10, 4, 7)
	w.finish(4)
	check(0, 10, 7)
	w.take(7, 0)
	w.take(11, 0)
	w.take(13, 0) // 12 belongs to another partition
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
	w.take(1, 0)
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
			w.take(next, 0)
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

// TestWindowLog checks after which sequence of NOTIFICATIONS a successor looks for what was
// written: that of the oldest open message which may yet write.
func TestWindowLog(t *testing.T) {
	w := newWindow(Position{Next: 10, Open: []uint64{4, 7}, Wrote: []uint64{7}, Log: 100})
	check := func(what string, log uint64, wrote ...uint64) {
		t.Helper()
		if pos := w.position(); pos.Log != log || !slices.Equal(pos.Wrote, wrote) {
			t.Errorf("%s: log %d, wrote %v; want %d, %v", what, pos.Log, pos.Wrote, log, wrote)
		}
	}
	check("as the predecessor left it", 100, 7)
	first, _ := w.take(4, 500)
	second, _ := w.take(7, 500)
	if first || !second {
		t.Error("7 has written everything, and 4 has not")
	}
	if w.logOf(4) != 100 {
		t.Error("the predecessor may have written what 4 causes")
	}
	w.advance(500)
	check("4 is open", 100, 7)
	w.take(11, 500)
	w.finish(4)
	check("11 is open", 500, 7)
	w.advance(900)
	w.wrote(11)
	check("all have written", 900, 7, 11)
	w.cut(800)
	check("the log has lost its end", 800, 7, 11)
	w.finish(7)
	w.finish(11)
	if w.position(); w.dirty() {
		t.Error("the position was just taken")
	}
	if w.advance(801 + refreshAfter); !w.dirty() {
		t.Error("a successor would have to read too much")
	}
}
