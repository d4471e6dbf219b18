package eventstest

import (
	"encoding/json"
	"net/http"
	"slices"

	"poked/events"
)

// The account data of a [Homeserver]: push rules, ignored users and pushers.

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

func (h *Homeserver) putIgnored(w http.ResponseWriter, r *http.Request, caller device) {
	var list struct {
		Users map[events.UserID]any `json:"ignored_users"`
	}
	switch {
	case r.PathValue("user") != string(caller.user):
		respond(w, http.StatusForbidden, matrixError("M_FORBIDDEN"))
		return
	case json.NewDecoder(r.Body).Decode(&list) != nil:
		respond(w, http.StatusBadRequest, matrixError("M_NOT_JSON"))
		return
	}
	delete(h.ignored, caller.user)
	for other := range list.Users {
		h.ignored[caller.user] = other
	}
	respond(w, http.StatusOK, struct{}{})
}

// getData returns what answers a request for account data of a type.
func (h *Homeserver) getData(name string) func(http.ResponseWriter, *http.Request, device) {
	return func(w http.ResponseWriter, r *http.Request, caller device) {
		content := h.data[caller.user][name]
		switch {
		case r.PathValue("user") != string(caller.user):
			respond(w, http.StatusForbidden, matrixError("M_FORBIDDEN"))
		case content == nil:
			respond(w, http.StatusNotFound, matrixError("M_NOT_FOUND"))
		default:
			respond(w, http.StatusOK, content)
		}
	}
}

// putData returns what stores account data of a type.
func (h *Homeserver) putData(name string) func(http.ResponseWriter, *http.Request, device) {
	return func(w http.ResponseWriter, r *http.Request, caller device) {
		var content json.RawMessage
		switch {
		case r.PathValue("user") != string(caller.user):
			respond(w, http.StatusForbidden, matrixError("M_FORBIDDEN"))
		case json.NewDecoder(r.Body).Decode(&content) != nil:
			respond(w, http.StatusBadRequest, matrixError("M_NOT_JSON"))
		default:
			h.setData(caller.user, name, content)
			respond(w, http.StatusOK, struct{}{})
		}
	}
}

// SetData gives a user account data of a type.
func (h *Homeserver) SetData(user events.UserID, name, content string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.setData(user, name, json.RawMessage(content))
}

func (h *Homeserver) setData(user events.UserID, name string, content json.RawMessage) {
	if h.data[user] == nil {
		h.data[user] = map[string]json.RawMessage{}
	}
	h.data[user][name] = content
}

// SetPusher gives a user a pusher, as GET pushers shows it.
func (h *Homeserver) SetPusher(user events.UserID, pusher map[string]any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changePusher(user, pusher)
}

// changePusher sets a pusher, or deletes the one of the same name if it has no kind.
func (h *Homeserver) changePusher(user events.UserID, pusher map[string]any) {
	h.pushers[user] = slices.DeleteFunc(slices.Clone(h.pushers[user]), func(p map[string]any) bool {
		return p["app_id"] == pusher["app_id"] && p["pushkey"] == pusher["pushkey"]
	})
	if pusher["kind"] != nil {
		h.pushers[user] = append(h.pushers[user], pusher)
	}
}

// Pushkeys returns the pushkeys that the homeserver has of a user, oldest first.
func (h *Homeserver) Pushkeys(user events.UserID) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys := []string{}
	for _, p := range h.pushers[user] {
		keys = append(keys, p["pushkey"].(string))
	}
	return keys
}

func (h *Homeserver) getPushers(w http.ResponseWriter, _ *http.Request, caller device) {
	respond(w, http.StatusOK, map[string]any{"pushers": append([]map[string]any{}, h.pushers[caller.user]...)})
}

func (h *Homeserver) setPusher(w http.ResponseWriter, r *http.Request, caller device) {
	pusher := map[string]any{}
	if err := json.NewDecoder(r.Body).Decode(&pusher); err != nil {
		respond(w, http.StatusBadRequest, matrixError("M_NOT_JSON"))
		return
	}
	pusher["org.matrix.msc3881.device_id"] = caller.id
	h.changePusher(caller.user, pusher)
	respond(w, http.StatusOK, struct{}{})
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
