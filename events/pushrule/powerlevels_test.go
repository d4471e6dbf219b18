package pushrule

import (
	"math"
	"reflect"
	"testing"
)

func TestParsePowerLevels(t *testing.T) {
	got := ParsePowerLevels([]byte(`{"users_default":" 5 ","redact":"60","invite":20,"kick":"40","users":{"@a:x":100,"@b:x":"7","@c:x":[],"@d:x":-1.9},
		"notifications":{"room":12.34,"other":"x","third":1e300,
		"int":9223372036854775808,"low":-99999999999999999999,"text":"99999999999999999999","float":1e2,"beyond":1e400,"past":9.3e18}}`))
	want := PowerLevels{
		Users:   map[string]int64{"@a:x": 100, "@b:x": 7, "@d:x": -1},
		Default: 5,
		Redact:  60,
		Invite:  20,
		Kick:    40,
		Ban:     50,
		Notifications: map[string]int64{"room": 12, "third": math.MaxInt64, "int": math.MaxInt64, "low": math.MinInt64,
			"text": math.MaxInt64, "float": 100, "beyond": math.MaxInt64, "past": math.MaxInt64},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("power levels:\n got %+v\nwant %+v", got, want)
	}
	if a, other := got.Of("@a:x"), got.Of("@z:x"); a != 100 || other != 5 {
		t.Errorf("levels of @a:x and @z:x: %d and %d, want 100 and 5", a, other)
	}
	for _, odd := range []string{``, `5`, `"{\"users_default\":9}"`, `{"users":5,"notifications":null}`} {
		if got := ParsePowerLevels([]byte(odd)); got.Default != 0 || got.Redact != 50 || len(got.Users)+len(got.Notifications) != 0 {
			t.Errorf("%s: got %+v, want nothing", odd, got)
		}
	}
}
