package events_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"testing"

	"poked/events"
)

// Types with a closed set of values list all of them. The command line, metrics and
// schema are checked against these lists.
func TestClosedSetsListTheirValues(t *testing.T) {
	const shownOnly = string(events.DeadUnreadable) // never stored
	for _, set := range []struct {
		file, typ string
		listed    []string
	}{
		{"deadletter.go", "DeadReason", append(texts(events.DeadReasons()), shownOnly)},
		{"operator.go", "GatewayPhase", texts(events.GatewayPhases())},
		{"operator.go", "PusherPhase", texts(events.PusherPhases())},
	} {
		declared := constantsOf(t, set.file, set.typ)
		slices.Sort(set.listed)
		if len(declared) == 0 || !slices.Equal(set.listed, declared) {
			t.Errorf("%s lists %q, its constants are %q", set.typ, set.listed, declared)
		}
	}
}

func texts[T ~string](values []T) (all []string) {
	for _, v := range values {
		all = append(all, string(v))
	}
	return all
}

// constantsOf returns the values of the string constants of a type, in order.
func constantsOf(t *testing.T, file, typ string) []string {
	t.Helper()
	source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]bool{}
	ast.Inspect(source, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); !ok || of.Name != typ {
			return true
		}
		for _, v := range spec.Values {
			if text, err := strconv.Unquote(v.(*ast.BasicLit).Value); err == nil {
				values[text] = true
			}
		}
		return true
	})
	return slices.Sorted(maps.Keys(values))
}
