package request

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"poked/events"
	"poked/events/pushgateway"
	"poked/events/webpush"
)

// Limits of a pusher. The first three are from the specification; the others keep a
// user's pushers within one NATS message (registry.Config.MaxPushers) and are far above what
// clients send. All apply to the stored form: decoded strings, and data as encoding/json
// writes it.
const (
	MaxPushkeyBytes = 512
	MaxAppIDChars   = 64
	MaxHandleChars  = 32
	MaxNameChars    = 255
	MaxDataBytes    = 4096
)

// Set is a valid body of pushers/set.
type Set struct {
	Pusher events.Pusher // without DeviceID and PushkeyTS; only AppID and Pushkey if Remove
	Remove bool          // kind is null
	Append bool          // leave other users' pushers with this app_id and pushkey alone
}

// ParseSet reads a body of pushers/set. It ignores unknown keys and, when deleting, all
// keys except those that identify the pusher, since clients send leftovers there.
// needHandle makes the instance handle required, as under the original prefix.
// webPush reports whether browsers may be set, too.
func ParseSet(body []byte, needHandle, webPush bool, policy *pushgateway.Policy) (Set, error) {
	f, err := ParseFields(body)
	if err != nil {
		return Set{}, err
	}
	req := Set{Pusher: events.Pusher{AppID: f.AppID(), Pushkey: f.Pushkey()}}
	req.Pusher.Kind, req.Remove = f.kind(webPush)
	if !req.Remove {
		req.Append = f.flag("append", false)
		req.Pusher.Disabled = !f.enabled()
		req.Pusher.InstanceHandle = f.instanceHandle(needHandle)
		req.Pusher.AppDisplayName = f.name("app_display_name")
		req.Pusher.DeviceDisplayName = f.name("device_display_name")
		req.Pusher.Lang = f.name("lang")
		req.Pusher.Data = f.data(&req.Pusher, policy)
	}
	return req, f.Err()
}

// Pushkey reads the required pushkey.
func (f *Fields) Pushkey() string {
	key := f.Text("pushkey")
	f.Want(key != "" && len(key) <= MaxPushkeyBytes, "pushkey", fmt.Sprintf("must have 1 to %d bytes", MaxPushkeyBytes))
	return key
}

// AppID accepts reverse-DNS names: labels of letters, digits, "-" and "_" separated by
// single dots. A single label is accepted, too, since the specification only recommends
// the style.
func (f *Fields) AppID() string {
	id := f.Text("app_id")
	chars := utf8.RuneCountInString(id)
	f.Want(chars >= 1 && chars <= MaxAppIDChars, "app_id", fmt.Sprintf("must have 1 to %d characters", MaxAppIDChars))
	for label := range strings.SplitSeq(id, ".") {
		if id != "" && (label == "" || strings.ContainsFunc(label, notInLabel)) {
			f.Want(false, "app_id", "must be a reverse-DNS name such as org.example.app: letters, digits, - and _ between single dots")
			break
		}
	}
	return id
}

func notInLabel(r rune) bool {
	inLabel := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	return !inLabel
}

// kind returns the kind of a pusher that poked delivers to, or remove for null, which deletes
// the pusher.
func (f *Fields) kind(webPush bool) (kind string, remove bool) {
	if raw, ok := f.raw["kind"]; ok && IsNull(raw) {
		return "", true
	}
	kind = f.Text("kind")
	if webPush {
		f.Want(isOurs(kind, webPush), "kind", `must be "http" or "webpush", or null to delete the pusher; other kinds are not supported`)
	} else {
		f.Want(isOurs(kind, webPush), "kind", `must be "http", or null to delete the pusher; other kinds are not supported`)
	}
	return kind, false
}

// isOurs reports whether poked delivers to pushers of a kind.
func isOurs(kind string, webPush bool) bool {
	p := events.Pusher{Kind: kind}
	return kind == events.KindHTTP || webPush && p.IsWebPush()
}

// IsOther reports whether the request is for a pusher of another kind than poked delivers.
func (r *Set) IsOther(webPush bool) bool {
	return r.Pusher.Kind != "" && !isOurs(r.Pusher.Kind, webPush)
}

// instanceHandle reads the handle under either of its names. An empty one counts as
// absent.
func (f *Fields) instanceHandle(required bool) string {
	handle, tag := f.optionalText("instance_handle"), f.optionalText("profile_tag")
	short := func(s string) bool { return utf8.RuneCountInString(s) <= MaxHandleChars }
	rule := fmt.Sprintf("must have at most %d characters", MaxHandleChars)
	f.Want(short(handle), "instance_handle", rule)
	f.Want(short(tag), "profile_tag", rule)
	if !f.absent("instance_handle") && !f.absent("profile_tag") {
		f.Want(handle == tag, "instance_handle", "and profile_tag are two names of the same field and must be equal")
	}
	if required && handle == "" && tag == "" {
		f.missing = append(f.missing, "instance_handle")
	}
	if handle == "" {
		return tag
	}
	return handle
}

// enabled reads the key of MSC3881. The stable name wins over the unstable one.
func (f *Fields) enabled() bool {
	return f.flag("enabled", f.flag("org.matrix.msc3881.enabled", true))
}

func (f *Fields) name(key string) string {
	name := f.Text(key)
	f.Want(utf8.RuneCountInString(name) <= MaxNameChars, key, fmt.Sprintf("must have at most %d characters", MaxNameChars))
	return name
}

// data returns the object as compact JSON with the same meaning.
func (f *Fields) data(p *events.Pusher, policy *pushgateway.Policy) json.RawMessage {
	object := f.object("data")
	if object == nil {
		return nil
	}
	raw, ok := object["url"]
	if !ok {
		f.missing = append(f.missing, "data.url")
		return nil
	}
	check := policy.CheckURL
	if p.IsWebPush() {
		check = policy.CheckResource
		f.browser(object, p.Pushkey)
	}
	f.checkURL(f.str("data.url", raw), check)
	if ttl, ok := object["poked.ttl"]; ok {
		var seconds int64
		f.Want(json.Unmarshal(ttl, &seconds) == nil && seconds > 0, "data.poked.ttl", "must be a number of seconds, at least 1")
	}
	for _, key := range []string{"poked.cleared", "poked.user_id", "poked.room_avatar"} {
		if raw, ok := object[key]; ok {
			f.Want(string(raw) == "true" || string(raw) == "false", "data."+key, "must be true or false")
		}
	}
	encoded, err := json.Marshal(f.raw["data"])
	f.Want(err == nil && len(encoded) <= MaxDataBytes, "data", fmt.Sprintf("must have at most %d bytes as compact JSON", MaxDataBytes))
	return encoded
}

// browser checks what only a browser's pusher has.
func (f *Fields) browser(data map[string]json.RawMessage, pushkey string) {
	raw, ok := data["auth"]
	if !ok {
		f.missing = append(f.missing, "data.auth")
		return
	}
	if format, ok := data["format"]; ok {
		f.Want(f.str("data.format", format) == "event_id_only", "data.format", `must be "event_id_only" or absent`)
	}
	switch _, err := webpush.ParseSubscription(pushkey, f.str("data.auth", raw)); {
	case errors.Is(err, webpush.ErrPushkey):
		f.Want(false, "pushkey", err.Error())
	case err != nil:
		f.Want(false, "data.auth", err.Error())
	}
}

func (f *Fields) checkURL(raw string, check func(string) (*pushgateway.URL, error)) {
	_, err := check(raw)
	var refusal *pushgateway.Refusal
	switch {
	case errors.As(err, &refusal):
		f.Want(false, "data.url", "is refused: "+refusal.Reason)
	case err != nil:
		f.Want(false, "data.url", "is refused")
	}
}
