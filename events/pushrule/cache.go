package pushrule

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"runtime"
	"strings"
	"sync"
	"weak"

	"github.com/tidwall/gjson"
)

// Cache returns the same Compiled for rulesets that differ only in their owner's id. These users form one class:
// their rules are compiled once, stored once and decided once for each event. An entry is removed when its Compiled
// is garbage collected. Cache is safe for concurrent use.
type Cache struct {
	mu       sync.Mutex
	compiled map[cacheKey]weak.Pointer[Compiled]
	everyone cacheKey
}

// cacheKey is a collision-free hash of a ruleset.
type cacheKey [sha256.Size]byte

// NewCache returns a cache that holds only the rules of Everyone.
func NewCache() *Cache {
	predefined := withProposed(Predefined(anyUser))
	return &Cache{
		compiled: make(map[cacheKey]weak.Pointer[Compiled]),
		everyone: newCacheKey(&predefined, anyUser),
	}
}

// Compile returns what the function Compile returns, and the same Compiled for equal rules: Everyone for those that
// decide as the predefined ones do. Disabled rules make no difference.
func (c *Cache) Compile(rs *Ruleset, userID string) *Compiled {
	key := newCacheKey(rs, userID)
	if key == c.everyone {
		return Everyone()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.compiled[key].Value(); known != nil {
		return known
	}
	compiled := Compile(rs, userID)
	c.compiled[key] = weak.Make(compiled)
	runtime.AddCleanup(compiled, c.forget, key)
	return compiled
}

// forget removes an entry whose Compiled was collected, unless it was replaced meanwhile.
func (c *Cache) forget(key cacheKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.compiled[key].Value() == nil {
		delete(c.compiled, key)
	}
}

// newCacheKey hashes everything that a Compiled depends on, in evaluation order.
func newCacheKey(rs *Ruleset, userID string) (key cacheKey) {
	k := keyWriter{Hash: sha256.New(), compiler: compiler{ownID: userID, slots: everyone().slots}}
	for _, list := range rs.lists() {
		for _, rule := range inOrder(list) {
			if rule.Enabled {
				k.rule(list.kind, rule)
			}
		}
	}
	k.Sum(key[:0])
	return key
}

// keyWriter hashes rules. Each text and each list is written with its length, so that different rules never produce
// the same bytes.
type keyWriter struct {
	hash.Hash

	compiler compiler
}

func (k *keyWriter) rule(kind Kind, r *Rule) {
	k.text(string(kind))
	k.text(r.ID)
	k.length(int(r.proposal))
	k.length(len(r.Actions))
	for _, action := range r.Actions {
		k.text(string(action))
	}
	switch kind {
	case KindContent:
		if r.Pattern == nil {
			k.length(0)
			return
		}
		k.length(1)
		k.text(*r.Pattern)
	case KindOverride, KindPostContent, KindUnderride:
		k.length(len(r.Conditions))
		for _, condition := range r.Conditions {
			k.condition(condition)
		}
	}
}

// condition hashes conditions that differ only in their owner's id to the same bytes.
func (k *keyWriter) condition(source Condition) {
	var path []string
	kind := 0
	if k.mayNameOwner(source) {
		switch c := k.compiler.condition(gjson.Parse(string(source))).(type) {
		case *ownIDMatch:
			kind, path = 1, c.path
		case *containsOwnID:
			kind, path = 2, c.path
		}
	}
	k.length(kind)
	if kind == 0 {
		k.text(string(source))
		return
	}
	k.length(len(path))
	for _, name := range path {
		k.text(name)
	}
}

// mayNameOwner reports cheaply whether a condition may contain the owner's id, as it is or with JSON escapes.
func (k *keyWriter) mayNameOwner(source Condition) bool {
	if _, ok := k.compiler.slots[source]; ok {
		return false // it is the same for all users
	}
	return strings.Contains(string(source), `\`) || strings.Contains(string(source), k.compiler.ownID)
}

func (k *keyWriter) text(s string) {
	k.length(len(s))
	_, _ = io.WriteString(k, s) // a hash never fails
}

func (k *keyWriter) length(n int) {
	_, _ = k.Write(binary.LittleEndian.AppendUint32(nil, uint32(n))) //nolint:gosec // rulesets are far smaller than 4 GiB
}
