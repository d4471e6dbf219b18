package partition

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func workersNamed(rng *rand.Rand, n int) []string {
	workers := make([]string, n)
	for i := range workers {
		workers[i] = fmt.Sprintf("%016x", rng.Uint64())
	}
	return workers
}

// moved returns the number of partitions with a different owner.
func moved(before, after []string) (n int) {
	for i := range before {
		if before[i] != after[i] {
			n++
		}
	}
	return n
}

func shares(owners []string) map[string]int {
	n := map[string]int{}
	for _, owner := range owners {
		n[owner]++
	}
	return n
}

// Whichever workers join or leave, every partition has a present owner, no worker has
// more than one partition more than another, and all workers compute the same
// assignment.
func TestAssignmentIsBalancedAndTheSameForAll(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		parts, workers := 1+rng.IntN(64), workersNamed(rng, 1+rng.IntN(20))
		owners := assign(parts, workers)
		n := shares(owners)
		for owner := range n {
			if !slices.Contains(workers, owner) {
				t.Fatalf("%d partitions, %d workers: %q owns something", parts, len(workers), owner)
			}
		}
		for _, w := range workers {
			if n[w] < parts/len(workers) || n[w] > (parts+len(workers)-1)/len(workers) {
				t.Fatalf("%d partitions, %d workers: one has %d", parts, len(workers), n[w])
			}
		}
		rng.Shuffle(len(workers), func(i, j int) { workers[i], workers[j] = workers[j], workers[i] })
		if !slices.Equal(owners, assign(parts, workers)) {
			t.Fatal("the order of workers changes the answer")
		}
	}
	if got := assign(3, nil); !slices.Equal(got, []string{"", "", ""}) {
		t.Errorf("without workers: %v", got)
	}
}

// A worker that joins or leaves moves little more than its own share.
func TestAssignmentMovesFew(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, parts := range []int{16, 64, 256} {
		for n := 1; n <= 8; n++ {
			total, least, most := 0, 0, 0
			rounds := 100
			if testing.Short() {
				rounds = 10
			}
			for range rounds {
				workers := workersNamed(rng, n+1)
				after := assign(parts, workers)
				m := moved(assign(parts, workers[:n]), after)
				total, most = total+m, max(most, m)
				least += shares(after)[workers[n]]
			}
			t.Logf("%d partitions, %d to %d workers: %.2f move, of %.2f at least; %d at most", parts, n, n+1,
				float64(total)/float64(rounds), float64(least)/float64(rounds), most)
			if total > least*9/4 {
				t.Error("too many partitions move")
			}
		}
	}
}
