package registry

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"poked/events"
	"poked/events/homeserver"
)

// passRules forwards a request for push rules to the homeserver. A change is answered
// after its effect is stored here as well; if that fails the client gets an error and can
// safely try again. If the homeserver does not support push rules, ours handles the
// request.
func (a *api) passRules(ours func(context.Context, *call) (any, error)) func(context.Context, *call) (any, error) {
	return func(ctx context.Context, c *call) (any, error) {
		answer, err := a.upstream.forward(ctx, c)
		if err != nil {
			return nil, err
		}
		if answer.Errcode() == "M_UNRECOGNIZED" {
			return ours(ctx, c)
		}
		if c.request.Method == http.MethodGet || answer.Status/100 != 2 {
			return answer, nil
		}
		// The homeserver has changed them, also if the client is gone by now.
		return answer, a.upstream.fetchRules(context.WithoutCancel(ctx), c)
	}
}

// passAccountData forwards a request for account data to the homeserver. A change of the
// types that decide about notifications is in effect here when it is answered, as one
// of push rules is.
func (a *api) passAccountData(ctx context.Context, c *call) (any, error) {
	answer, err := a.upstream.forward(ctx, c)
	if err != nil {
		return nil, err
	}
	if c.request.Method == http.MethodGet || answer.Status/100 != 2 {
		return answer, nil
	}
	ctx = context.WithoutCancel(ctx)
	switch c.params["type"] {
	case "m.ignored_user_list":
		return answer, a.upstream.answered(c, a.upstream.takeIgnored(ctx, a.upstream.account(c)))
	case "m.push_rules":
		return answer, a.upstream.fetchRules(ctx, c)
	}
	if slices.Contains(events.DoNotDisturbTypes(), c.params["type"]) {
		return answer, a.upstream.answered(c, a.upstream.takeDoNotDisturb(ctx, a.upstream.account(c)))
	}
	return answer, nil
}

// freshRules answers GET pushrules/ with the homeserver's global rules and the rules of
// devices stored here.
func (a *api) freshRules(ctx context.Context, c *call) (any, error) {
	if err := a.upstream.fetchRules(ctx, c); err != nil {
		return nil, err
	}
	return a.getRules(ctx, c)
}

// relay writes the homeserver's answer to the client.
func relay(w http.ResponseWriter, answer *homeserver.Answer) (status int, errcode string) {
	for _, name := range []string{"Content-Type", "Retry-After", "Www-Authenticate", "Cache-Control"} {
		if values := answer.Header.Values(name); len(values) > 0 {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(answer.Status)
	_, _ = w.Write(answer.Body) // fails only if the client disconnected
	return answer.Status, answer.Errcode()
}

func todaysPath(path string) string {
	for _, prefix := range []string{prefixR0, prefixOriginal} {
		if rest, ok := strings.CutPrefix(path, prefix+"/"); ok {
			return prefixV3 + "/" + rest
		}
	}
	return path
}
