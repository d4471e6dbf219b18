package registry

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
// user's pushers within one NATS message (see maxMaxPushers) and are far above what
// clients send. All apply to the stored form: decoded strings, and data as encoding/json
// writes it.
const (
	maxPushkeyBytes = 512
	maxAppIDChars   = 64
	maxHandleChars  = 32
	maxNameChars    = 255
	maxDataBytes    = 4096
)

// setRequest is a valid body of pushers/set.
type setRequest struct {
	pusher events.Pusher // without DeviceID and PushkeyTS; only AppID and Pushkey if remove
	remove bool          // kind is null
	append bool          // leave other users' pushers with this app_id and pushkey alone
}

// parseSet reads a body of pushers/set. It ignores unknown keys and, when deleting, all
// keys except those that identify the pusher, since clients send leftovers there.
// needHandle makes the instance handle required, as under the original prefix.
// webPush reports whether browsers may be set, too.
func parseSet(body []byte, needHandle, webPush bool, policy *pushgateway.Policy) (setRequest, error) {
	f, err := parseFields(body)
	if err != nil {
		return setRequest{}, err
	}
	req := setRequest{pusher: events.Pusher{AppID: f.appID(), Pushkey: f.pushkey()}}
	req.pusher.Kind, req.remove = f.kind(webPush)
	if !req.remove {
		req.append = f.flag("append", false)
		req.pusher.Disabled = !f.enabled()
		req.pusher.InstanceHandle = f.instanceHandle(needHandle)
		req.pusher.AppDisplayName = f.name("app_display_name")
		req.pusher.DeviceDisplayName = f.name("device_display_name")
		req.pusher.Lang = f.name("lang")
		req.pusher.Data = f.data(&req.pusher, policy)
	}
	return req, f.err()
}

func (f *fields) pushkey() string {
	key := f.text("pushkey")
	f.want(key != "" && len(key) <= maxPushkeyBytes, "pushkey", fmt.Sprintf("must have 1 to %d bytes", maxPushkeyBytes))
	return key
}

// appID accepts reverse-DNS names: labels of letters, digits, "-" and "_" separated by
// single dots. A single label is accepted, too, since the specification only recommends
// the style.
func (f *fields) appID() string {
	id := f.text("app_id")
	chars := utf8.RuneCountInString(id)
	f.want(chars >= 1 && chars <= maxAppIDChars, "app_id", fmt.Sprintf("must have 1 to %d characters", maxAppIDChars))
	for label := range strings.SplitSeq(id, ".") {
		if id != "" && (label == "" || strings.ContainsFunc(label, notInLabel)) {
			f.want(false, "app_id", "must be a reverse-DNS name such as org.example.app: letters, digits, - and _ between single dots")
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
func (f *fields) kind(webPush bool) (kind string, remove bool) {
	if raw, ok := f.raw["kind"]; ok && isNull(raw) {
		return "", true
	}
	kind = f.text("kind")
	if webPush {
		f.want(isOurs(kind, webPush), "kind", `must be "http" or "webpush", or null to delete the pusher; other kinds are not supported`)
	} else {
		f.want(isOurs(kind, webPush), "kind", `must be "http", or null to delete the pusher; other kinds are not supported`)
	}
	return kind, false
}

// isOurs reports whether poked delivers to pushers of a kind.
func isOurs(kind string, webPush bool) bool {
	p := events.Pusher{Kind: kind}
	return kind == events.KindHTTP || webPush && p.IsWebPush()
}

// isOther reports whether the request is for a pusher of another kind than poked delivers.
func (r *setRequest) isOther(webPush bool) bool {
	return r.pusher.Kind != "" && !isOurs(r.pusher.Kind, webPush)
}

// instanceHandle reads the handle under either of its names. An empty one counts as
// absent.
func (f *fields) instanceHandle(required bool) string {
	handle, tag := f.optionalText("instance_handle"), f.optionalText("profile_tag")
	short := func(s string) bool { return utf8.RuneCountInString(s) <= maxHandleChars }
	rule := fmt.Sprintf("must have at most %d characters", maxHandleChars)
	f.want(short(handle), "instance_handle", rule)
	f.want(short(tag), "profile_tag", rule)
	if !f.absent("instance_handle") && !f.absent("profile_tag") {
		f.want(handle == tag, "instance_handle", "and profile_tag are two names of the same field and must be equal")
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
func (f *fields) enabled() bool {
	return f.flag("enabled", f.flag("org.matrix.msc3881.enabled", true))
}

func (f *fields) name(key string) string {
	name := f.text(key)
	f.want(utf8.RuneCountInString(name) <= maxNameChars, key, fmt.Sprintf("must have at most %d characters", maxNameChars))
	return name
}

// data returns the object as compact JSON with the same meaning.
func (f *fields) data(p *events.Pusher, policy *pushgateway.Policy) json.RawMessage {
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
		f.want(json.Unmarshal(ttl, &seconds) == nil && seconds > 0, "data.poked.ttl", "must be a number of seconds, at least 1")
	}
	for _, key := range []string{"poked.cleared", "poked.user_id", "poked.room_avatar"} {
		if raw, ok := object[key]; ok {
			f.want(string(raw) == "true" || string(raw) == "false", "data."+key, "must be true or false")
		}
	}
	encoded, err := json.Marshal(f.raw["data"])
	f.want(err == nil && len(encoded) <= maxDataBytes, "data", fmt.Sprintf("must have at most %d bytes as compact JSON", maxDataBytes))
	return encoded
}

// browser checks what only a browser's pusher has.
func (f *fields) browser(data map[string]json.RawMessage, pushkey string) {
	raw, ok := data["auth"]
	if !ok {
		f.missing = append(f.missing, "data.auth")
		return
	}
	if format, ok := data["format"]; ok {
		f.want(f.str("data.format", format) == "event_id_only", "data.format", `must be "event_id_only" or absent`)
	}
	switch _, err := webpush.ParseSubscription(pushkey, f.str("data.auth", raw)); {
	case errors.Is(err, webpush.ErrPushkey):
		f.want(false, "pushkey", err.Error())
	case err != nil:
		f.want(false, "data.auth", err.Error())
	}
}

func (f *fields) checkURL(raw string, check func(string) (*pushgateway.URL, error)) {
	_, err := check(raw)
	var refusal *pushgateway.Refusal
	switch {
	case errors.As(err, &refusal):
		f.want(false, "data.url", "is refused: "+refusal.Reason)
	case err != nil:
		f.want(false, "data.url", "is refused")
	}
}
