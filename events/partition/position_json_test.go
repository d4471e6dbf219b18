package partition

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"poked/events/stream"
)

// TestPositionIsEncodedAsByJSON compares the encoding with that of encoding/json, by what is
// decoded from both.
func TestPositionIsEncodedAsByJSON(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		pos := randomPosition(rng)
		plain, err := json.Marshal(pos)
		if err != nil {
			t.Fatal(err)
		}
		var got, want map[string]any
		if err := json.Unmarshal(pos.encode(), &got); err != nil {
			t.Fatalf("%s: %v", pos.encode(), err)
		}
		if err := json.Unmarshal(plain, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("encoded as\n%s\nencoding/json has\n%s", pos.encode(), plain)
		}
	}
}

func randomPosition(rng *rand.Rand) Position {
	pos := Position{Owner: "worker-1", Stream: time.Unix(rng.Int64N(2e9), rng.Int64N(1e9)).UTC()}
	if rng.IntN(2) == 0 {
		pos.At = time.Unix(rng.Int64N(2e9), rng.Int64N(1e9)).UTC()
	}
	for range rng.IntN(20) {
		pos.Next += rng.Uint64N(1 << rng.IntN(53))
		pos.Next++
		pos.Open = append(pos.Open, pos.Next)
		if rng.IntN(3) == 0 {
			pos.Wrote = append(pos.Wrote, pos.Next)
		}
		if rng.IntN(3) == 0 {
			if pos.Parts == nil {
				pos.Parts = map[uint64][]byte{}
			}
			pos.Parts[pos.Next] = []byte{byte(rng.IntN(256)), byte(rng.IntN(256))}
		}
	}
	for range rng.IntN(4) {
		pos.Log = append(pos.Log, rng.Uint64N(1<<53))
	}
	return pos
}

// BenchmarkPositionEncode encodes the position of a partition whose window is full.
func BenchmarkPositionEncode(b *testing.B) {
	pos := Position{Next: 1 << 24, Log: stream.LogMark{1 << 24}, Owner: "worker-1", Stream: time.Now(), At: time.Now(), Parts: map[uint64][]byte{}}
	for i := range uint64(windowLimit) {
		pos.Open = append(pos.Open, pos.Next-16*(windowLimit-i))
		if i%10 == 0 {
			pos.Parts[pos.Open[i]] = []byte{3}
		}
	}
	b.Run("appended", func(b *testing.B) {
		for b.Loop() {
			pos.encode()
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		for b.Loop() {
			_, _ = json.Marshal(pos)
		}
	})
}
