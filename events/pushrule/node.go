package pushrule

import (
	"strconv"

	"github.com/tidwall/gjson"
)

// shape is the type of a JSON value.
type shape uint8

const (
	shapeOther shape = iota // a number that is not an integer
	shapeNull
	shapeBool
	shapeInteger
	shapeString
	shapeArray
	shapeObject
)

// scalar is a JSON value that == compares with its type.
type scalar struct {
	shape  shape
	number int64 // the integer, or 1 for true
	text   string
}

// maxInteger is the largest integer of canonical JSON.
const maxInteger = 1<<53 - 1

// newScalar parses a JSON value; ok reports whether conditions may compare with it.
func newScalar(doc gjson.Result) (value scalar, ok bool) {
	switch doc.Type {
	case gjson.Null:
		return scalar{shape: shapeNull}, doc.Raw != ""
	case gjson.True:
		return scalar{shape: shapeBool, number: 1}, true
	case gjson.False:
		return scalar{shape: shapeBool}, true
	case gjson.String:
		return scalar{shape: shapeString, text: doc.Str}, true
	case gjson.Number:
		number, err := strconv.ParseInt(doc.Raw, 10, 64)
		if err != nil || number > maxInteger || number < -maxInteger {
			return scalar{}, false
		}
		return scalar{shape: shapeInteger, number: number}, true
	}
	return scalar{}, false
}

// node is one value of an event. Expensive properties are computed on first use and cached.
type node struct {
	scalar
	raw      string // of arrays and objects
	folded   []byte
	members  *members
	elements *elements
}

func newNode(doc gjson.Result) node {
	value, _ := newScalar(doc)
	switch {
	case doc.IsObject():
		value.shape = shapeObject
	case doc.IsArray():
		value.shape = shapeArray
	}
	return node{scalar: value, raw: doc.Raw}
}

// fold returns the folded text of a string of the event.
func (ev *Event) fold(n *node) []byte {
	if n.folded == nil {
		n.folded = ev.arena.fold(n.text)
	}
	return n.folded
}

// member returns the member of that name of an object of the event, or nil.
func (ev *Event) member(n *node, name string) *node {
	if n == nil || n.shape != shapeObject {
		return nil
	}
	if n.members == nil {
		n.members = ev.arena.members()
		n.members.parse(n.raw)
	}
	return n.members.get(name)
}

// contains reports whether the value is an array that contains the scalar.
func (n *node) contains(value scalar) bool { return n.parseElements() && n.elements.has(value) }

// hasTexts reports whether the value is an array that contains a string.
func (n *node) hasTexts() bool { return n.parseElements() && n.elements.hasTexts }

// parseElements parses the elements on first use; ok reports whether the node is an array.
func (n *node) parseElements() (ok bool) {
	if n == nil || n.shape != shapeArray {
		return false
	}
	if n.elements == nil {
		n.elements = newElements(n.raw)
	}
	return true
}

// usualEntries is the initial capacity, sufficient for most objects in events.
const usualEntries = 8

// fewEntries is the number of entries up to which a linear search is faster than a map.
const fewEntries = 16

// members are an object's members, with an index by name if there are many.
type members struct {
	names  []string
	nodes  []node
	places map[string]int
}

func (m *members) parse(raw string) {
	gjson.Parse(raw).ForEach(func(name, value gjson.Result) bool {
		m.names = append(m.names, name.Str)
		m.nodes = append(m.nodes, newNode(value))
		return true
	})
	if len(m.names) > fewEntries {
		m.places = make(map[string]int, len(m.names))
		for i, name := range m.names {
			m.places[name] = i
		}
	}
}

func (m *members) get(name string) *node {
	if m.places != nil {
		if i, ok := m.places[name]; ok {
			return &m.nodes[i]
		}
		return nil
	}
	for i := len(m.names) - 1; i >= 0; i-- { // from the end: the last of two equal names wins
		if m.names[i] == name {
			return &m.nodes[i]
		}
	}
	return nil
}

// elements are an array's comparable values, with a set if there are many.
type elements struct {
	values   []scalar
	set      map[scalar]struct{}
	hasTexts bool // at least one is a string
}

func newElements(raw string) *elements {
	e := &elements{}
	gjson.Parse(raw).ForEach(func(_, element gjson.Result) bool {
		if value, ok := newScalar(element); ok {
			e.values = append(e.values, value)
			e.hasTexts = e.hasTexts || value.shape == shapeString
		}
		return true
	})
	if len(e.values) > fewEntries {
		e.set = make(map[scalar]struct{}, len(e.values))
		for _, value := range e.values {
			e.set[value] = struct{}{}
		}
	}
	return e
}

func (e *elements) has(value scalar) bool {
	if e.set != nil {
		_, ok := e.set[value]
		return ok
	}
	for i := range e.values {
		if e.values[i] == value {
			return true
		}
	}
	return false
}
