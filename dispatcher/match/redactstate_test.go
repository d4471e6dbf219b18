package match

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Matrix specification, "Redactions" of each room version: what is left of the content.
func TestRedactedContent(t *testing.T) {
	const levels = `{"ban":1,"events":{},"events_default":1,"invite":1,"kick":1,"notifications":{"room":0},"redact":1,"state_default":1,"users":{},"users_default":1}`
	const kept = "ban events events_default kick redact state_default users users_default"
	const withInvite = "ban events events_default invite kick redact state_default users users_default"
	const member = `{"membership":"join","displayname":"x","avatar_url":"x","join_authorised_via_users_server":"@a:x","third_party_invite":{"display_name":"x","signed":{}}}`
	for _, row := range []struct{ version, kind, content, want string }{
		{"1", "m.room.power_levels", levels, kept},
		{"10", "m.room.power_levels", levels, kept},
		{"11", "m.room.power_levels", levels, withInvite},
		{"12", "m.room.power_levels", levels, withInvite},
		{"8", "m.room.member", member, "membership"},
		{"9", "m.room.member", member, "join_authorised_via_users_server membership"},
		{"11", "m.room.member", member, "join_authorised_via_users_server membership third_party_invite"},
		{"11", "m.room.member", `{"membership":"invite","third_party_invite":{"display_name":"x"}}`, "membership"},
		{"5", "m.room.aliases", `{"aliases":[]}`, "aliases"},
		{"6", "m.room.aliases", `{"aliases":[]}`, ""},
		{"7", "m.room.join_rules", `{"join_rule":"x","allow":[]}`, "join_rule"},
		{"8", "m.room.join_rules", `{"join_rule":"x","allow":[]}`, "allow join_rule"},
		{"10", "m.room.create", `{"creator":"@a:x","room_version":"10"}`, "creator"},
		{"11", "m.room.create", `{"x":1,"room_version":"11"}`, "room_version x"},
		{"11", "m.room.history_visibility", `{"history_visibility":"x","y":1}`, "history_visibility"},
		{"11", "m.room.name", `{"name":"x"}`, ""},
		{"11", "m.room.canonical_alias", `{"alias":"x","alt_aliases":[]}`, ""},
	} {
		var left map[string]json.RawMessage
		if err := json.Unmarshal(roomVersion(row.version).redacted(row.kind, []byte(row.content)), &left); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(slices.Sorted(maps.Keys(left)), " "); got != row.want {
			t.Errorf("version %s leaves of %s %q, want %q", row.version, row.kind, got, row.want)
		}
		if third := string(left["third_party_invite"]); third != "" && third != `{"signed":{}}` {
			t.Errorf("of third_party_invite is left %s", third)
		}
	}
}
