package registry

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// The prefixes of the client-server API, from the newest to the original one.
const (
	prefixV3       = "/_matrix/client/v3"
	prefixR0       = "/_matrix/client/r0"
	prefixOriginal = "/_matrix/client/api/v1"
	// prefixWebPush has what MSC4174 adds, until the specification has it.
	prefixWebPush = "/_matrix/client/unstable/org.matrix.msc4174"
	// prefixThreads has what MSC4306 adds, until the specification has it.
	prefixThreads = "/_matrix/client/unstable/io.element.msc4306"
)

// route maps the methods of one path to their handlers.
type route map[string]func(context.Context, *call) (any, error)

// endpoint is a path of the API as an OpenAPI template: {name} matches one segment that
// is not empty, and {name...} at the end matches the rest of the path.
type endpoint struct {
	template string
	segments []string // of the template
	route    route
	passed   bool // needs no token, or is forwarded to the homeserver, which authenticates it
}

// endpoints returns the table of all paths. No path matches two of them, except for the
// last of each prefix, which matches what the others leave.
func (a *api) endpoints() []endpoint {
	list := []endpoint{{pathVersions, strings.Split(pathVersions, "/"), route{http.MethodGet: a.getVersions}, true}}
	add := func(template string, r route) {
		list = append(list, endpoint{template: template, segments: strings.Split(template, "/"), route: r})
	}
	addRules := func(scope string, getAll func(context.Context, *call) (any, error)) {
		rule := scope + "{kind}/{ruleId}"
		add(scope, route{http.MethodGet: getAll})
		add(rule, route{http.MethodGet: a.getRule, http.MethodPut: a.putRule, http.MethodDelete: a.deleteRule})
		add(rule+"/enabled", route{http.MethodGet: a.getRuleEnabled, http.MethodPut: a.putRuleEnabled})
		add(rule+"/actions", route{http.MethodGet: a.getRuleActions, http.MethodPut: a.putRuleActions})
	}
	add(pathTestPush, route{http.MethodPost: a.testPusher})
	add(prefixWebPush+"/pushers/ack", route{http.MethodPost: a.acknowledge})
	if a.upstream != nil {
		list = a.watching(list, prefixThreads, a.threadWatchers())
	}
	for _, prefix := range []string{prefixV3, prefixR0, prefixOriginal} {
		add(prefix+"/pushers/push", route{http.MethodPost: a.testPusher})
		add(prefix+"/pushers/ack", route{http.MethodPost: a.acknowledge})
		add(prefix+"/capabilities", route{http.MethodGet: a.getCapabilities})
		list[len(list)-1].passed = a.upstream != nil
		add(prefix+"/pushers/set", route{http.MethodPost: a.setPusher})
		add(prefix+"/pushers", route{http.MethodGet: a.getPushers})
		add(prefix+"/notifications", route{http.MethodGet: a.getNotifications})
		add(prefix+"/pushrules/", route{http.MethodGet: a.getRules})
		addRules(prefix+"/pushrules/global/", a.getScope)
		if a.upstream != nil {
			list = a.passedOn(list, prefix)
		}
		if prefix == prefixOriginal {
			device := prefix + "/pushrules/device/{instanceHandle}/"
			addRules(device, a.getScope)
			add(device+"copy", route{http.MethodPost: a.copyDeviceRules})
		}
		add(prefix+"/pushrules/{rest...}", route{
			http.MethodGet: refuseRulePath, http.MethodPut: refuseRulePath,
			http.MethodPost: refuseRulePath, http.MethodDelete: refuseRulePath,
		})
	}
	return list
}

// passedOn changes a prefix's table for use with a homeserver: requests for global push
// rules and for account data are forwarded to it, and requests that end devices are watched.
func (a *api) passedOn(list []endpoint, prefix string) []endpoint {
	for _, e := range list {
		if !strings.HasPrefix(e.template, prefix+"/pushrules/") {
			continue
		}
		for method, ours := range e.route {
			e.route[method] = a.passRules(ours)
		}
		if e.template == prefixOriginal+"/pushrules/" { // shows devices, which the homeserver does not know
			e.route[http.MethodGet] = a.freshRules
		}
	}
	data := prefix + "/user/{userId}/account_data/{type}"
	list = append(list, endpoint{data, strings.Split(data, "/"), route{
		http.MethodGet: a.passAccountData, http.MethodPut: a.passAccountData, http.MethodDelete: a.passAccountData,
	}, false})
	return a.watching(list, prefix, a.watchers())
}

// watching adds watched requests below a prefix to the table.
func (a *api) watching(list []endpoint, prefix string, watchers map[string]map[string]watcher) []endpoint {
	for path, watched := range watchers {
		template := prefix + path
		list = append(list, endpoint{template, strings.Split(template, "/"), a.watch(watched), true})
	}
	return list
}

// match returns the path parameters if the escaped segments of a path fit the template.
func (e *endpoint) match(path []string) (params map[string]string, ok bool) {
	for i, want := range e.segments {
		if strings.HasSuffix(want, "...}") {
			return params, i < len(path)
		}
		if i >= len(path) {
			return nil, false
		}
		have, err := url.PathUnescape(path[i])
		if err != nil {
			return nil, false
		}
		if !strings.HasPrefix(want, "{") {
			if have != want {
				return nil, false
			}
			continue
		}
		if have == "" {
			return nil, false
		}
		if params == nil {
			params = map[string]string{}
		}
		params[want[1:len(want)-1]] = have
	}
	return params, len(path) == len(e.segments)
}

// find looks up the route by the escaped path, since a segment may contain an escaped
// slash. http.ServeMux would answer some paths with a redirect in HTML.
func (a *api) find(c *call) route {
	path := strings.Split(c.request.URL.EscapedPath(), "/")
	for i := range a.table {
		e := &a.table[i]
		params, ok := e.match(path)
		if !ok {
			continue
		}
		c.path, c.params, c.passed = e.template, params, e.passed
		c.original = strings.HasPrefix(e.template, prefixOriginal+"/")
		return e.route
	}
	return nil
}
