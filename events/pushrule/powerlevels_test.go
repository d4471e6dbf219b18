package pushrule

import (
	"reflect"
	"testing"
)

func TestParsePowerLevels(t *testing.T) {
	got := ParsePowerLevels([]byte(`{"users_default":" 5 ","users":{"@a:x":100,"@b:x":"7","@c:x":[],"@d:x":-1.9},
		"notifications":{"room":12.34,"other":"x","third":1e300}}`))
	want := PowerLevels{
		Users:         map[string]int64{"@a:x": 100, "@b:x": 7, "@d:x": -1},
		Default:       5,
		Notifications: map[string]int64{"room": 12},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("power levels:\n got %+v\nwant %+v", got, want)
	}
	if a, other := got.Of("@a:x"), got.Of("@z:x"); a != 100 || other != 5 {
		t.Errorf("levels of @a:x and @z:x: %d and %d, want 100 and 5", a, other)
	}
	for _, odd := range []string{``, `5`, `"{\"users_default\":9}"`, `{"users":5,"notifications":null}`} {
		if got := ParsePowerLevels([]byte(odd)); got.Default != 0 || len(got.Users)+len(got.Notifications) != 0 {
			t.Errorf("%s: got %+v, want nothing", odd, got)
		}
	}
}
