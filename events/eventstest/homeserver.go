package eventstest

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"poked/events"
)

// ASToken is the as_token that a [Homeserver] accepts.
const ASToken = "as-token-of-the-test"

// Homeserver serves, over HTTP, the routes of the client-server API that poked uses. Its
// users are those of example.org.
type Homeserver struct {
	URL string

	t   testing.TB
	mu  sync.Mutex
	hit []string

	instead func(*http.Request) (Reply, bool)
	tokens  map[string]device
	state   map[events.RoomID][]json.RawMessage
	rules   map[events.UserID]map[string][]map[string]any
	ignored map[events.UserID]events.UserID
	data    map[events.UserID]map[string]json.RawMessage // other account data, by type
	pushers map[events.UserID][]map[string]any

	registered bool // the homeserver knows ASToken
}

type device struct {
	user events.UserID
	id   string
}

// StartHomeserver starts a homeserver that ends with the test.
func StartHomeserver(t testing.TB) *Homeserver {
	h := &Homeserver{
		t: t, instead: func(*http.Request) (Reply, bool) { return Reply{}, false },
		tokens: map[string]device{}, state: map[events.RoomID][]json.RawMessage{},
		rules: map[events.UserID]map[string][]map[string]any{}, ignored: map[events.UserID]events.UserID{}, data: map[events.UserID]map[string]json.RawMessage{},
		pushers: map[events.UserID][]map[string]any{}, registered: true,
	}
	mux := http.NewServeMux()
	const v3 = "/_matrix/client/v3"
	mux.HandleFunc("GET "+v3+"/account/whoami", h.authorized(h.whoami))
	mux.HandleFunc("GET "+v3+"/joined_rooms", h.authorized(h.joinedRooms))
	mux.HandleFunc("GET "+v3+"/rooms/{room}/state", h.authorized(h.roomState))
	mux.HandleFunc("POST "+v3+"/rooms/{room}/receipt/{kind}/{event}", h.authorized(h.accept))
	mux.HandleFunc("POST "+v3+"/rooms/{room}/read_markers", h.authorized(h.accept))
	mux.HandleFunc("PUT "+v3+"/user/{user}/rooms/{room}/account_data/{type}", h.authorized(h.accept))
	const thread = "/_matrix/client/unstable/io.element.msc4306/rooms/{room}/thread/{thread}/subscription"
	mux.HandleFunc("PUT "+thread, h.authorized(h.accept))
	mux.HandleFunc("DELETE "+thread, h.authorized(h.accept))
	mux.HandleFunc("PUT "+v3+"/rooms/{room}/redact/{event}/{txn}", h.authorized(h.redact))
	mux.HandleFunc("GET "+v3+"/devices/{device}", h.authorized(h.getDevice))
	mux.HandleFunc("DELETE "+v3+"/devices/{device}", h.authorized(h.deleteDevices))
	mux.HandleFunc("POST "+v3+"/delete_devices", h.authorized(h.deleteDevices))
	mux.HandleFunc("POST "+v3+"/logout", h.authorized(h.logout))
	mux.HandleFunc("POST "+v3+"/logout/all", h.authorized(h.logoutAll))
	mux.HandleFunc("POST "+v3+"/account/password", h.authorized(h.password))
	mux.HandleFunc("POST "+v3+"/account/deactivate", h.authorized(h.logoutAll))
	mux.HandleFunc("GET "+v3+"/devices", h.authorized(h.getDevices))
	mux.HandleFunc("GET "+v3+"/pushers", h.authorized(h.getPushers))
	mux.HandleFunc("POST "+v3+"/pushers/set", h.authorized(h.setPusher))
	mux.HandleFunc("GET "+v3+"/user/{user}/account_data/m.ignored_user_list", h.authorized(h.getIgnored))
	mux.HandleFunc("PUT "+v3+"/user/{user}/account_data/m.ignored_user_list", h.authorized(h.putIgnored))
	for _, name := range events.DoNotDisturbTypes() {
		mux.HandleFunc("GET "+v3+"/user/{user}/account_data/"+name, h.authorized(h.getData(name)))
		mux.HandleFunc("PUT "+v3+"/user/{user}/account_data/"+name, h.authorized(h.putData(name)))
	}
	mux.HandleFunc("GET "+v3+"/pushrules/", h.authorized(h.getRules))
	mux.HandleFunc("PUT "+v3+"/pushrules/global/{kind}/{rule}", h.authorized(h.putRule))
	mux.HandleFunc("DELETE "+v3+"/pushrules/global/{kind}/{rule}", h.authorized(h.deleteRule))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusNotFound, matrixError("M_UNRECOGNIZED"))
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.hit = append(h.hit, r.Method+" "+r.URL.RequestURI())
		reply, ok := h.instead(r)
		h.mu.Unlock()
		if ok {
			w.WriteHeader(reply.Status)
			_, _ = io.WriteString(w, reply.Body)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	h.URL = server.URL
	return h
}

// Instead makes fn answer requests; where it returns false, the homeserver answers
// itself.
func (h *Homeserver) Instead(fn func(*http.Request) (Reply, bool)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.instead = fn
}

// AddToken adds an access token and its device.
func (h *Homeserver) AddToken(token string, user events.UserID, deviceID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens[token] = device{user, deviceID}
}

// RemoveToken removes an access token and its device.
func (h *Homeserver) RemoveToken(token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.tokens, token)
}

// Register makes the homeserver know ASToken, which it does from its start, or not.
func (h *Homeserver) Register(known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.registered = known
}

// SetState sets the state of a room, including its members.
func (h *Homeserver) SetState(room events.RoomID, state ...json.RawMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state[room] = state
}

// Ignore makes a user ignore another.
func (h *Homeserver) Ignore(user, other events.UserID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ignored[user] = other
}

// Hits returns the requests whose method and path begin with a prefix, in order.
func (h *Homeserver) Hits(prefix string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.hit), func(hit string) bool { return !strings.HasPrefix(hit, prefix) })
}

// authorized authenticates a request: by a client's token, or by the as_token on behalf
// of a user.
func (h *Homeserver) authorized(handle func(http.ResponseWriter, *http.Request, device)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		h.mu.Lock()
		defer h.mu.Unlock()
		caller, ok := h.tokens[token]
		if token == ASToken && h.registered {
			caller, ok = device{user: events.UserID(cmp.Or(r.URL.Query().Get("user_id"), "@_poked:example.org"))}, true
			if !strings.HasSuffix(string(caller.user), ":example.org") {
				respond(w, http.StatusForbidden, matrixError("M_FORBIDDEN"))
				return
			}
		}
		if !ok {
			respond(w, http.StatusUnauthorized, map[string]any{"errcode": "M_UNKNOWN_TOKEN", "error": "?", "soft_logout": strings.HasPrefix(token, "expired")})
			return
		}
		handle(w, r, caller)
	}
}

func (h *Homeserver) whoami(w http.ResponseWriter, _ *http.Request, caller device) {
	body := map[string]any{"user_id": caller.user}
	if caller.id != "" {
		body["device_id"] = caller.id
	}
	respond(w, http.StatusOK, body)
}

// isJoined reports whether a user is joined to a room.
func (h *Homeserver) isJoined(room events.RoomID, user events.UserID) bool {
	for _, raw := range h.state[room] {
		var ev struct {
			Type     string `json:"type"`
			StateKey string `json:"state_key"`
			Content  struct {
				Membership string `json:"membership"`
			} `json:"content"`
		}
		if json.Unmarshal(raw, &ev) == nil && ev.Type == "m.room.member" && ev.StateKey == string(user) && ev.Content.Membership == "join" {
			return true
		}
	}
	return false
}

func (h *Homeserver) joinedRooms(w http.ResponseWriter, _ *http.Request, caller device) {
	rooms := []events.RoomID{}
	for room := range h.state {
		if h.isJoined(room, caller.user) {
			rooms = append(rooms, room)
		}
	}
	slices.Sort(rooms)
	respond(w, http.StatusOK, map[string]any{"joined_rooms": rooms})
}

func (h *Homeserver) roomState(w http.ResponseWriter, r *http.Request, caller device) {
	room := events.RoomID(r.PathValue("room"))
	if !h.isJoined(room, caller.user) {
		respond(w, http.StatusForbidden, matrixError("M_FORBIDDEN"))
		return
	}
	respond(w, http.StatusOK, h.state[room])
}

// accept answers a request that changes nothing here.
func (h *Homeserver) accept(w http.ResponseWriter, _ *http.Request, _ device) {
	respond(w, http.StatusOK, struct{}{})
}

// redact names the redaction after its transaction id.
func (h *Homeserver) redact(w http.ResponseWriter, r *http.Request, _ device) {
	respond(w, http.StatusOK, map[string]any{"event_id": "$redaction-" + r.PathValue("txn")})
}

func (h *Homeserver) getDevice(w http.ResponseWriter, r *http.Request, caller device) {
	for _, d := range h.tokens {
		if d.user == caller.user && d.id == r.PathValue("device") {
			respond(w, http.StatusOK, map[string]any{"device_id": d.id})
			return
		}
	}
	respond(w, http.StatusNotFound, matrixError("M_NOT_FOUND"))
}

func (h *Homeserver) getDevices(w http.ResponseWriter, _ *http.Request, caller device) {
	list := []map[string]any{}
	for _, d := range h.tokens {
		if d.user == caller.user {
			list = append(list, map[string]any{"device_id": d.id})
		}
	}
	respond(w, http.StatusOK, map[string]any{"devices": list})
}

// forget removes the tokens of a user's devices that pick selects.
func (h *Homeserver) forget(user events.UserID, pick func(id string) bool) {
	for token, d := range h.tokens {
		if d.user == user && pick(d.id) {
			delete(h.tokens, token)
		}
	}
}

// deleteDevices requires a password, as homeservers do.
func (h *Homeserver) deleteDevices(w http.ResponseWriter, r *http.Request, caller device) {
	var body struct {
		Auth    any      `json:"auth"`
		Devices []string `json:"devices"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	if body.Auth == nil {
		respond(w, http.StatusUnauthorized, map[string]any{"flows": []any{}, "session": "s"})
		return
	}
	h.forget(caller.user, func(id string) bool { return slices.Contains(body.Devices, id) || id == r.PathValue("device") })
	respond(w, http.StatusOK, struct{}{})
}

func (h *Homeserver) logout(w http.ResponseWriter, _ *http.Request, caller device) {
	h.forget(caller.user, func(id string) bool { return id == caller.id })
	respond(w, http.StatusOK, struct{}{})
}

func (h *Homeserver) logoutAll(w http.ResponseWriter, _ *http.Request, caller device) {
	h.forget(caller.user, func(string) bool { return true })
	respond(w, http.StatusOK, struct{}{})
}

func (h *Homeserver) password(w http.ResponseWriter, r *http.Request, caller device) {
	body := struct {
		Others bool `json:"logout_devices"`
	}{Others: true}
	_ = json.NewDecoder(r.Body).Decode(&body)
	h.forget(caller.user, func(id string) bool { return body.Others && id != caller.id })
	respond(w, http.StatusOK, struct{}{})
}

func matrixError(errcode string) map[string]any {
	return map[string]any{"errcode": errcode, "error": "as the test wants it"}
}

func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
