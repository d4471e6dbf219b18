package eventstest

import (
	"encoding/json"
	"net/http"
	"slices"

	"poked/events"
)

// The account data of a [Homeserver]: push rules and ignored users.

// rulesOf returns a user's rules by kind. The only predefined one is the rule that
// messages notify.
func (h *Homeserver) rulesOf(user events.UserID) map[string][]map[string]any {
	if h.rules[user] == nil {
		h.rules[user] = map[string][]map[string]any{"override": {}, "content": {}, "room": {}, "sender": {}, "underride": {{
			"rule_id": ".m.rule.message", "default": true, "enabled": true, "actions": []string{"notify"},
			"conditions": []map[string]string{{"kind": "event_match", "key": "type", "pattern": "m.room.message"}},
		}}}
	}
	return h.rules[user]
}

func (h *Homeserver) getIgnored(w http.ResponseWriter, r *http.Request, caller device) {
	other, ok := h.ignored[caller.user]
	switch {
	case r.PathValue("user") != string(caller.user):
		respond(w, http.StatusForbidden, matrixError("M_FORBIDDEN"))
	case !ok:
		respond(w, http.StatusNotFound, matrixError("M_NOT_FOUND"))
	default:
		respond(w, http.StatusOK, map[string]any{"ignored_users": map[events.UserID]any{other: struct{}{}}})
	}
}

func (h *Homeserver) getRules(w http.ResponseWriter, _ *http.Request, caller device) {
	respond(w, http.StatusOK, map[string]any{"global": h.rulesOf(caller.user)})
}

func (h *Homeserver) putRule(w http.ResponseWriter, r *http.Request, caller device) {
	rule := map[string]any{}
	if err := json.NewDecoder(r.Body).Decode(&rule); err != nil {
		respond(w, http.StatusBadRequest, matrixError("M_NOT_JSON"))
		return
	}
	rule["rule_id"], rule["default"], rule["enabled"] = r.PathValue("rule"), false, true
	rules, kind := h.rulesOf(caller.user), r.PathValue("kind")
	rules[kind] = append(without(rules[kind], r.PathValue("rule")), rule)
	respond(w, http.StatusOK, struct{}{})
}

func (h *Homeserver) deleteRule(w http.ResponseWriter, r *http.Request, caller device) {
	rules, kind := h.rulesOf(caller.user), r.PathValue("kind")
	left := without(rules[kind], r.PathValue("rule"))
	if len(left) == len(rules[kind]) {
		respond(w, http.StatusNotFound, matrixError("M_NOT_FOUND"))
		return
	}
	rules[kind] = left
	respond(w, http.StatusOK, struct{}{})
}

func without(rules []map[string]any, id string) []map[string]any {
	return slices.DeleteFunc(slices.Clone(rules), func(rule map[string]any) bool { return rule["rule_id"] == id })
}
