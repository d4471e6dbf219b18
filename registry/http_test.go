package registry

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"poked/events/eventstest"
	"poked/registry/problem"
	"poked/schema"
)

func TestUnknownPathsAndMethods(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/", 404, ""},
		{"GET", "/_matrix/client/v3/pushers/", 404, ""},
		{"GET", "/_matrix//client/v3/pushers", 404, ""},
		{"GET", "/_matrix/client/v1/pushers", 404, ""},
		{"PUT", "/_matrix/client/v3/elsewhere", 404, ""},
		{"GET", setV3, 405, "POST, OPTIONS"},
		{"DELETE", setV1, 405, "POST, OPTIONS"},
		{"POST", prefixV3 + "/pushers", 405, "GET, OPTIONS"},
	} {
		status, header, answer := h.request(c.method, c.path, "alice-phone", "")
		var e errorBody
		if err := json.Unmarshal(answer, &e); err != nil || status != c.status || e.Errcode != "M_UNRECOGNIZED" {
			t.Errorf("%s %s: %d %s", c.method, c.path, status, answer)
		}
		if header.Get("Content-Type") != "application/json" || header.Get("Allow") != c.allow {
			t.Errorf("%s %s: headers %v", c.method, c.path, header)
		}
	}
}

func TestCrossOrigin(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		method, path, token string
		status              int
	}{
		{"OPTIONS", setV3, "", 204}, // a preflight has no token
		{"OPTIONS", prefixOriginal + "/pushers", "", 204},
		{"OPTIONS", "/unknown", "", 204},
		{"GET", prefixV3 + "/pushers", "alice-phone", 200},
		{"GET", prefixV3 + "/pushers", "", 401},
		{"GET", "/unknown", "", 404},
	} {
		status, header, _ := h.request(c.method, c.path, c.token, "")
		if status != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, status, c.status)
		}
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin":  "*",
			"Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
			"Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
		} {
			if header.Get(name) != want {
				t.Errorf("%s %s: %s is %q", c.method, c.path, name, header.Get(name))
			}
		}
	}
}

func TestBodyLimit(t *testing.T) {
	h := newHouse(t)
	good := encode(t, body())
	fits := good + strings.Repeat(" ", maxBodyBytes-len(good))
	if status, e := h.try(setV3, "alice-phone", fits); status != http.StatusOK {
		t.Errorf("%d bytes: %d %+v", len(fits), status, e)
	}
	if status, e := h.try(setV3, "alice-phone", fits+" "); status != http.StatusRequestEntityTooLarge || e.Errcode != "M_TOO_LARGE" {
		t.Errorf("%d bytes: %d %+v", len(fits)+1, status, e)
	}
}

// TestOpenAPI compares the program with its description: it has the same paths and
// methods, and its answers match the schemas.
func TestOpenAPI(t *testing.T) {
	doc := openAPI(t)
	h := newHouse(t, withWebPush)
	promised := map[string]bool{}
	for path, item := range doc["paths"].(map[string]any) {
		item := item.(map[string]any)
		servers, ok := item["servers"].([]any) // of a path that only some prefixes have
		if !ok {
			servers = doc["servers"].([]any)
		}
		for _, server := range servers {
			full := server.(map[string]any)["url"].(string) + path
			for method := range item {
				if method != "options" && method != "servers" && method != "parameters" {
					promised[strings.ToUpper(method)+" "+full] = true
				}
			}
		}
	}
	routes := 0
	for _, e := range h.reg.api.table {
		if strings.HasSuffix(e.template, "{rest...}") {
			continue
		}
		for method := range e.route {
			routes++
			if !promised[method+" "+e.template] {
				t.Errorf("%s %s is not described", method, e.template)
			}
		}
	}
	if routes != len(promised) {
		t.Errorf("%d routes, %d described", routes, len(promised))
	}
	h.set("alice-phone", body())
	h.set("alice-phone", body(keys{"pushkey": "other", "instance_handle": "handle"}))
	h.request("POST", setV3, "alice-phone", encode(t, browserBody(newBrowser(t), "https://push.example.net/x")))
	_, _, list := h.request("GET", prefixV3+"/pushers", "alice-phone", "")
	_, _, capabilities := h.request("GET", prefixV3+"/capabilities", "alice-phone", "")
	checkShape(t, doc, "Capabilities", capabilities)
	checkShape(t, doc, "Pushers", list)
	h.put("global/override/a", `{"actions":["notify"],"conditions":[{"kind":"x"}]}`)
	h.put("device/h/content/a", `{"actions":[{"set_tweak":"sound"}],"pattern":"x"}`)
	for path, shape := range map[string]string{
		"": "PushRules", "global/": "Ruleset", "device/h/": "Ruleset", "device/none/": "Ruleset",
		"global/override/a": "Rule", "global/override/a/enabled": "RuleEnabled", "device/h/content/a/actions": "RuleActions",
	} {
		checkShape(t, doc, shape, []byte(h.get(path)))
	}
	_, _, failure := h.request("GET", prefixV3+"/pushers", "", "")
	checkShape(t, doc, "Error", failure)
}

func openAPI(t *testing.T) map[string]any {
	t.Helper()
	raw, err := fs.ReadFile(schema.Files(), "openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(encode(t, tree)))
	if err != nil {
		t.Fatal(err)
	}
	return doc.(map[string]any)
}

// checkShape validates an answer against a schema of the OpenAPI document.
func checkShape(t *testing.T, doc map[string]any, name string, answer []byte) {
	t.Helper()
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	shape, err := c.Compile("openapi.json#/components/schemas/" + name)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer))
	if err != nil {
		t.Fatal(err)
	}
	if err := shape.Validate(value); err != nil {
		t.Errorf("%s: %s: %v", name, answer, err)
	}
}

// TestOpenAPIErrcodes checks that the description has every errcode.
func TestOpenAPIErrcodes(t *testing.T) {
	doc := openAPI(t)
	for p := problem.Internal; p <= problem.UnknownActivation; p++ {
		checkShape(t, doc, "Error", []byte(encode(t, bodyOf(&problem.Error{Kind: p, Message: "m"}))))
	}
}

// TestG9NoSecretInTheLog puts secrets wherever a client can, and searches the log for
// them.
func TestG9NoSecretInTheLog(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	stop := h.run()
	const secret = "SECRET"
	bodies := []string{
		encode(t, body(keys{"pushkey": secret})),
		encode(t, body(keys{"pushkey": secret, "lang": 1})),
		encode(t, body(keys{"pushkey": secret, "kind": null})),
		encode(t, body(keys{"data": keys{"url": "https://user:" + secret + "@g.example/" + secret}})),
		`{"` + secret + `":1,"` + secret + `":2}`,
		secret,
	}
	for _, body := range bodies {
		h.request("POST", setV3, "alice-phone", body)
		h.request("POST", setV3, "bob-phone", body)
		h.request("POST", setV3, secret, body)
	}
	for _, path := range []string{"global/room/" + secret, "global/room/.m." + secret, "device/" + secret + "/room/x", secret + "/room/x", "global/" + secret + "/x"} {
		for _, method := range []string{"PUT", "GET", "DELETE"} {
			for _, tail := range []string{"", "/enabled", "/actions", "/" + secret, "?before=" + secret} {
				h.request(method, pushRules+path+tail, "alice-phone", `{"actions":["notify"],"enabled":true,"x":"`+secret+`"}`)
			}
		}
	}
	h.request("POST", pushRules+"device/"+secret+"/copy", "alice-phone", `{"instance_handle":"x`+secret+`"}`)
	for _, key := range []string{"from", "limit", "only", secret} {
		h.request("GET", prefixV3+"/notifications?"+key+"="+secret, "alice-phone", "")
	}
	h.accounts().rules(`{"global":"` + secret + `"}`)
	h.request("GET", "/"+secret+"?access_token="+secret, secret, "")
	h.request(secret, setV3, "alice-phone", "")
	h.waitSettled()
	stop()
	if err := h.reg.db.Close(); err != nil {
		t.Fatal(err)
	}
	if status, e := h.try(setV3, "alice-phone", bodies[0]); status != http.StatusInternalServerError || e.Errcode != "M_UNKNOWN" {
		t.Errorf("without a database: %d %+v", status, e)
	}
	log := h.log.String()
	if strings.Contains(log, secret) || strings.Contains(log, "alice-phone") {
		t.Errorf("the log contains a secret:\n%s", log)
	}
	for _, want := range []string{"errcode=M_UNKNOWN_TOKEN", "/pushrules/global/{kind}/{ruleId}/enabled", "user_id=" + alice, "status=500", "pusher removed"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
}
