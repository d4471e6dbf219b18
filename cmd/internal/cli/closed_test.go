package cli

import (
	"reflect"
	"strings"
	"testing"

	"poked/events"
)

// The flags for a reason or a state accept every existing one, and their help and errors name
// all of them.
func TestFlagsKnowEveryReasonAndState(t *testing.T) {
	dead, pushers := deadFlags{Reason: "none of them"}, pushersListCmd{State: "none of them"}
	refusal, help := dead.Validate().Error(), helpOf(t, dead, "Reason")
	for _, dead.Reason = range append(events.DeadReasons(), events.DeadUnreadable) {
		wantKnown(t, string(dead.Reason), dead.Validate(), refusal, help)
	}
	refusal, help = pushers.Validate().Error(), helpOf(t, pushers, "State")
	for _, pushers.State = range events.PusherPhases() {
		wantKnown(t, string(pushers.State), pushers.Validate(), refusal, help)
	}
}

func wantKnown(t *testing.T, value string, err error, texts ...string) {
	t.Helper()
	if err != nil {
		t.Errorf("%s is refused: %v", value, err)
	}
	for _, text := range texts {
		if !strings.Contains(text, value) {
			t.Errorf("%s is missing in %q", value, text)
		}
	}
}

func helpOf(t *testing.T, flags any, field string) string {
	t.Helper()
	f, ok := reflect.TypeOf(flags).FieldByName(field)
	if !ok {
		t.Fatalf("no field %s", field)
	}
	return f.Tag.Get("help")
}
