package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"poked/events/eventstest"
)

func readExample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(fromRoot("events", "bridge", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Both examples send the same paths to poked.
func TestProxyExamplesAgree(t *testing.T) {
	nginx := regexp.MustCompile(`(?m)^\s*location ~ (\S+) {$`)
	caddy := regexp.MustCompile(`(?m)^\s*@\w+ path_regexp (\S+)$`)
	for path, ours := range map[string]bool{
		"/_matrix/client/v3/pushers":                        true,
		"/_matrix/client/r0/pushers/set":                    true,
		"/_matrix/client/api/v1/pushers/set":                true,
		"/_matrix/client/v3/pushrules/":                     true,
		"/_matrix/client/v3/pushrules/global/content/a%2Fb": true,
		"/_matrix/client/v3/logout":                         true,
		"/_matrix/client/v3/logout/all":                     true,
		"/_matrix/client/v3/devices/PHONE":                  true,
		"/_matrix/client/v3/delete_devices":                 true,
		"/_matrix/client/v3/account/password":               true,
		"/_matrix/client/v3/account/deactivate":             true,
		"/_matrix/client/v3/account/whoami":                 false,
		"/_matrix/client/v3/account/password/email":         false,
		"/_matrix/client/v3/devices":                        false,
		"/_matrix/client/v3/pushersonly":                    false,
		"/_matrix/client/v3/sync":                           false,
		"/_matrix/media/v3/pushers":                         false,
		"/_matrix/push/v1/notify":                           false,
	} {
		for file, pattern := range map[string]*regexp.Regexp{"nginx.conf": nginx, "Caddyfile": caddy} {
			matched := 0
			for _, location := range pattern.FindAllStringSubmatch(readExample(t, file), -1) {
				if regexp.MustCompile(location[1]).MatchString(path) {
					matched++
				}
			}
			if (matched == 1) != ours || matched > 1 {
				t.Errorf("%s: %s goes to poked by %d rules", file, path, matched)
			}
		}
	}
}

// startNginx runs nginx with the example configuration in front of a homeserver and poked.
func startNginx(t *testing.T, homeserver, poked string) (url string) {
	t.Helper()
	binary, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("nginx is not installed: the example configuration is not tested")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	example := strings.NewReplacer("listen 8443;", "listen "+addr+";", "127.0.0.1:8008", homeserver, "127.0.0.1:8720", poked).
		Replace(readExample(t, "nginx.conf"))
	dir := t.TempDir()
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	conf := filepath.Join(dir, "nginx.conf")
	text := "daemon off;\nmaster_process off;\npid " + filepath.Join(dir, "pid") + ";\nerror_log stderr;\n" +
		"events {}\nhttp {\naccess_log off;\n" + temp.String() + example + "}\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	server := exec.Command(binary, "-p", dir, "-e", "stderr", "-c", conf)
	server.Stderr = &output
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("nginx printed:\n%s", &output)
		}
	})
	eventstest.WaitFor(t, "nginx to listen", func() bool {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return "http://" + addr
}

// A client talks only to nginx. Requests for pushers and push rules go to poked, all others to
// the homeserver, and with poked down a client can still log out.
func TestNginxExample(t *testing.T) {
	hs := homeserverOf(t)
	hs.AddToken("alice-laptop", "@alice:example.org", "LAPTOP")
	p, where := start(t, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--http", "127.0.0.1:0", "--homeserver", hs.URL,
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", "2")
	url := startNginx(t, strings.TrimPrefix(hs.URL, "http://"), fmt.Sprint(where["http"]))
	ask := func(method, path, token, body string) (int, string) {
		t.Helper()
		return request(t.Context(), t, method, url+"/_matrix/client/"+path, token, body)
	}

	setPusher(t, url, gatewayURL, "alice-pushkey")
	if status, answer := ask("GET", "v3/pushers", "alice-token", ""); status != 200 || !strings.Contains(answer, "alice-pushkey") {
		t.Errorf("pushers: %d %s", status, answer)
	}
	if status, answer := ask("GET", "v3/account/whoami", "alice-token", ""); status != 200 || !strings.Contains(answer, "PHONE") {
		t.Errorf("whoami: %d %s", status, answer)
	}
	rule := "v3/pushrules/global/content/a%2Fb%3F"
	if status, answer := ask("PUT", rule, "alice-token", `{"pattern":"a","actions":[]}`); status != 200 {
		t.Errorf("rule: %d %s", status, answer)
	}
	if n := len(hs.Hits("PUT /_matrix/client/" + rule)); n != 1 {
		t.Errorf("the homeserver saw the rule %d times: %v", n, hs.Hits("PUT"))
	}
	if n := len(hs.Hits("POST /_matrix/client/v3/pushers")); n != 0 {
		t.Errorf("the homeserver was given pushers %d times", n)
	}
	if status, answer := ask("POST", "v3/logout", "alice-token", "{}"); status != 200 {
		t.Errorf("logout: %d %s", status, answer)
	}
	if status, answer := ask("GET", "v3/pushers", "alice-laptop", ""); status != 200 || answer != `{"pushers":[]}`+"\n" {
		t.Errorf("pushers after logout: %d %s", status, answer)
	}
	p.terminate()
	if status, answer := ask("POST", "v3/logout", "alice-laptop", "{}"); status != 200 {
		t.Errorf("logout with poked down: %d %s", status, answer)
	}
	if status, _ := ask("GET", "v3/pushers", "alice-laptop", ""); status != 502 {
		t.Errorf("pushers with poked down: %d", status)
	}
}

func request(ctx context.Context, t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}
