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

// Cache gives users whose rulesets differ in nothing but their own id the same Compiled, so that they are one class:
// compiled once, held in memory once, and decided once for an event. It holds on to nothing: a Compiled that nobody
// uses any more goes, and its entry with it. Any number of goroutines may share one.
type Cache struct {
	mu       sync.Mutex
	compiled map[cacheKey]weak.Pointer[Compiled]
	everyone cacheKey
}

// cacheKey is a hash that no two different rulesets have in common.
type cacheKey [sha256.Size]byte

// NewCache returns a cache that is empty but for the predefined rules.
func NewCache() *Cache {
	predefined := Predefined(anyUser)
	return &Cache{
		compiled: make(map[cacheKey]weak.Pointer[Compiled]),
		everyone: newCacheKey(&predefined, anyUser),
	}
}

// Compile returns what the function Compile returns, the same for the same rules: Everyone for those that decide as
// the predefined ones do. Rules that are disabled make no difference.
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

// forget removes an entry whose Compiled is gone, unless it has another by now.
func (c *Cache) forget(key cacheKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.compiled[key].Value() == nil {
		delete(c.compiled, key)
	}
}

// newCacheKey hashes all that a Compiled depends on, in the order in which it is asked.
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

// keyWriter hashes rules. Each text is written with its length, and each list with its own: no two different rules
// give the same bytes.
type keyWriter struct {
	hash.Hash

	compiler compiler
}

func (k *keyWriter) rule(kind Kind, r *Rule) {
	k.text(string(kind))
	k.text(r.ID)
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

// condition writes what differs between users only in their own id the same for all.
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

// mayNameOwner is quick to say no: the id stands as it is in the JSON, or with escapes.
func (k *keyWriter) mayNameOwner(source Condition) bool {
	if _, ok := k.compiler.slots[source]; ok {
		return false // for it is the same for all
	}
	return strings.Contains(string(source), `\`) || strings.Contains(string(source), k.compiler.ownID)
}

func (k *keyWriter) text(s string) {
	k.length(len(s))
	_, _ = io.WriteString(k, s) // a hash takes everything
}

func (k *keyWriter) length(n int) {
	_, _ = k.Write(binary.LittleEndian.AppendUint32(nil, uint32(n))) //nolint:gosec // rulesets are far smaller than 4 GiB
}
