package partition

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// assign returns the worker of each of parts partitions. Every process that knows the
// same workers, in whatever order, gets the same answer, and no worker has more than one
// partition more than another.
//
// It is rendezvous hashing with a limit. Of all pairs of a partition and a worker, the one
// with the highest score is granted first, as long as the partition is free and the worker
// may have one more. When a worker joins or leaves, the pairs of the others keep their
// scores, so most partitions stay where they are.
func assign(parts int, workers []string) []string {
	owners := make([]string, parts)
	if len(workers) == 0 {
		return owners
	}
	quota := newQuota(parts, len(workers))
	left := parts
	for _, p := range pairs(parts, workers) {
		if owners[p.part] != "" || !quota.grant(p.worker) {
			continue
		}
		owners[p.part] = p.worker
		if left--; left == 0 {
			break
		}
	}
	return owners
}

// pair is a partition and a worker, with the score of the pair.
type pair struct {
	score  uint64
	part   int
	worker string
}

// pairs returns all pairs, highest score first.
func pairs(parts int, workers []string) []pair {
	all := make([]pair, 0, parts*len(workers))
	for _, worker := range workers {
		key := append([]byte(worker), 0, 0, 0, 0)
		for part := range parts {
			binary.BigEndian.PutUint32(key[len(worker):], uint32(part))
			sum := sha256.Sum256(key)
			all = append(all, pair{binary.BigEndian.Uint64(sum[:]), part, worker})
		}
	}
	slices.SortFunc(all, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.part, b.part), cmp.Compare(a.worker, b.worker))
	})
	return all
}

// quota is how many partitions each worker may have. If the number does not divide
// evenly, some have one more.
type quota struct {
	each, more int // more is how many workers may still have one beyond each
	has        map[string]int
}

func newQuota(parts, workers int) quota {
	return quota{each: parts / workers, more: parts % workers, has: make(map[string]int, workers)}
}

// grant gives a worker one more partition, and reports whether it may have it.
func (q *quota) grant(worker string) bool {
	switch n := q.has[worker]; {
	case n < q.each:
	case n == q.each && q.more > 0:
		q.more--
	default:
		return false
	}
	q.has[worker]++
	return true
}
