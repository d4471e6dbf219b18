package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

func readExample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(fromRoot("cmd", "poked", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// optional is a line of an example that an operator may switch on.
var optional = regexp.MustCompile(`(?m)^(\s*)#([^ #\n])`)

// readWhole reads an example with everything switched on.
func readWhole(t *testing.T, name string) string {
	t.Helper()
	return optional.ReplaceAllString(readExample(t, name), "$1$2")
}

// Both examples send the same paths to poked.
func TestProxyExamplesAgree(t *testing.T) {
	nginx := regexp.MustCompile(`(?m)^\s*location ~ (\S+) {`)
	caddy := regexp.MustCompile(`(?m)^\s*@\w+ path_regexp (\S+)$`)
	for path, ours := range map[string]bool{
		"/_matrix/client/v3/pushers":                                                    true,
		"/_matrix/client/r0/pushers/set":                                                true,
		"/_matrix/client/api/v1/pushers/set":                                            true,
		"/_matrix/client/v3/pushers/push":                                               true,
		"/_matrix/client/unstable/org.matrix.msc4173/pushers/push":                      true,
		"/_matrix/client/v3/pushers/ack":                                                true,
		"/_matrix/client/unstable/org.matrix.msc4174/pushers/ack":                       true,
		"/_matrix/client/versions":                                                      true,
		"/_matrix/client/v3/capabilities":                                               true,
		"/_matrix/client/r0/capabilities":                                               true,
		"/_matrix/client/v3/capabilities/x":                                             false,
		"/_matrix/client/v3/versions":                                                   false,
		"/_matrix/client/unstable/org.matrix.msc4140/pushers/ack":                       false,
		"/_matrix/client/v3/pushrules/":                                                 true,
		"/_matrix/client/v3/pushrules/global/content/a%2Fb":                             true,
		"/_matrix/client/v3/logout":                                                     true,
		"/_matrix/client/v3/logout/all":                                                 true,
		"/_matrix/client/v3/devices/PHONE":                                              true,
		"/_matrix/client/v3/delete_devices":                                             true,
		"/_matrix/client/v3/account/password":                                           true,
		"/_matrix/client/v3/account/deactivate":                                         true,
		"/_matrix/client/v3/user/@a:x/account_data/m.ignored_user_list":                 true,
		"/_matrix/client/r0/user/@a:x/account_data/m.push_rules":                        true,
		"/_matrix/client/v3/user/@a:x/account_data/m.do_not_disturb":                    true,
		"/_matrix/client/r0/user/@a:x/account_data/dm.filament.do_not_disturb":          true,
		"/_matrix/client/v3/rooms/!a:x/receipt/m.read/$b":                               true,
		"/_matrix/client/v3/rooms/!a:x/receipt/m.read/$b/c+d":                           true, // room version 3, unescaped
		"/_matrix/client/r0/rooms/!a/read_markers":                                      true,
		"/_matrix/client/v3/rooms/!a:x/redact/$b/c+d/m1.2":                              true,
		"/_matrix/client/v3/rooms/!a:x/send/m.room.message/1":                           false,
		"/_matrix/client/v3/rooms/!a:x/state/receipt/x":                                 false,
		"/_matrix/client/v3/rooms/!a:x/state/t/read_markers":                            false,
		"/_matrix/client/v3/user/@a:x/account_data/m.direct":                            false,
		"/_matrix/client/v3/account/whoami":                                             false,
		"/_matrix/client/v3/account/password/email":                                     false,
		"/_matrix/client/v3/devices":                                                    false,
		"/_matrix/client/v3/pushersonly":                                                false,
		"/_matrix/client/v3/sync":                                                       false,
		"/_matrix/media/v3/pushers":                                                     false,
		"/_matrix/push/v1/notify":                                                       false,
		"/_matrix/client/v3/user/@a:x/rooms/!a:x/account_data/m.marked_unread":          true,
		"/_matrix/client/r0/user/@a:x/rooms/!a/account_data/com.famedly.marked_unread":  true,
		"/_matrix/client/v3/user/@a:x/rooms/!a:x/account_data/m.fully_read":             false,
		"/_matrix/client/v3/user/@a:x/account_data/m.marked_unread":                     false,
		"/_matrix/client/unstable/io.element.msc4306/rooms/!a:x/thread/$b/subscription": true,
		"/_matrix/client/unstable/io.element.msc4306/rooms/!a/thread/$b/c/subscription": true, // room version 3, unescaped
		"/_matrix/client/unstable/io.element.msc4306/rooms/!a:x/thread/$b":              false,
		"/_matrix/client/v1/rooms/!a:x/threads":                                         false,
	} {
		for file, pattern := range map[string]*regexp.Regexp{"nginx.conf": nginx, "Caddyfile": caddy} {
			matched := 0
			for _, location := range pattern.FindAllStringSubmatch(readWhole(t, file), -1) {
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

// The proxies give up on poked after the first time in the tests: longer than an answer takes
// on a machine that is busy with other tests. They try it again after the second.
const (
	proxyPatience = 3 * time.Second
	proxyRetry    = 3 * time.Second
)

// proxies are the reverse proxies that there are examples for.
func proxies() map[string]func(t *testing.T, homeserver, poked string) (url string) {
	return map[string]func(t *testing.T, homeserver, poked string) (url string){"nginx": startNginx, "caddy": startCaddy}
}

// freeAddr returns an address that nobody listens at.
func freeAddr(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().String()
}

// startNginx runs nginx with the example configuration before a homeserver and poked.
func startNginx(t *testing.T, homeserver, poked string) (url string) {
	t.Helper()
	addr := freeAddr(t)
	runNginx(t, addr, strings.NewReplacer("listen 8443;", "listen "+addr+";", "127.0.0.1:8008", homeserver, "127.0.0.1:8720", poked,
		"proxy_read_timeout 10s", "proxy_read_timeout "+proxyPatience.String(), "fail_timeout=10s", "fail_timeout="+proxyRetry.String()).
		Replace(readWhole(t, "nginx.conf")))
	return "http://" + addr
}

// runNginx runs nginx with what is inside of http {…}, until the end of the test.
func runNginx(t *testing.T, addr, servers string) {
	t.Helper()
	dir := t.TempDir()
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	conf := filepath.Join(dir, "nginx.conf")
	text := "daemon off;\nmaster_process off;\npid " + filepath.Join(dir, "pid") + ";\nerror_log stderr;\n" +
		"events {}\nhttp {\naccess_log off;\n" + temp.String() + servers + "}\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	runProxy(t, addr, "nginx", "-p", dir, "-e", "stderr", "-c", conf)
}

// startCaddy runs Caddy with the example configuration before a homeserver and poked.
func startCaddy(t *testing.T, homeserver, poked string) (url string) {
	t.Helper()
	addr, dir := freeAddr(t), t.TempDir()
	example := strings.NewReplacer("matrix.example.org {", "http://"+addr+" {", "127.0.0.1:8008", homeserver, "127.0.0.1:8720", poked,
		"response_header_timeout 10s", "response_header_timeout "+proxyPatience.String(), "fail_duration 10s", "fail_duration "+proxyRetry.String()).
		Replace(readWhole(t, "Caddyfile"))
	conf := filepath.Join(dir, "Caddyfile")
	text := "{\n\tadmin off\n\tstorage file_system " + dir + "\n}\n" + example
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	runProxy(t, addr, "caddy", "run", "--adapter", "caddyfile", "--config", conf)
	return "http://" + addr
}

// runProxy runs a reverse proxy until the end of the test, and returns once it listens.
func runProxy(t *testing.T, addr, name string, args ...string) {
	t.Helper()
	binary, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("NOT TESTED: %s is not installed, the example configuration for it is not run", name)
	}
	var said eventstest.LogBuffer
	server := exec.Command(binary, args...)
	server.Stderr = &said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, said.String())
		}
	})
	eventstest.WaitFor(t, name+" to listen", func() bool {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// client is a client that talks to the reverse proxy only.
type proxied struct {
	t   *testing.T
	url string
}

// ask sends a request and wants 200. It returns the answer.
func (c proxied) ask(method, path, token, body string) string {
	c.t.Helper()
	began := time.Now()
	status, answer := request(c.t.Context(), c.t, method, c.url+"/_matrix/client/"+path, token, body)
	if status != http.StatusOK {
		c.t.Errorf("%s %s: %d %s after %s", method, path, status, answer, time.Since(began))
	}
	return answer
}

// askAgain is ask for a change just after poked went down or began to hang: Caddy may answer
// the first one with an error (see the Caddyfile), and a client tries again.
func (c proxied) askAgain(method, path, token, body string) {
	c.t.Helper()
	status, _ := request(c.t.Context(), c.t, method, c.url+"/_matrix/client/"+path, token, body)
	switch status {
	case http.StatusOK:
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		c.ask(method, path, token, body)
	default:
		c.t.Errorf("%s %s: %d", method, path, status)
	}
}

// pusherBody returns the body that sets a pusher.
func pusherBody(pushkey, lang string) string {
	return fmt.Sprintf(`{"kind":"http","app_id":"org.example.app","app_display_name":"App","device_display_name":"Phone","pushkey":%q,`+
		`"lang":%q,"data":{"url":%q}}`, pushkey, lang, gatewayURL)
}

// Requests for pushers, push rules and ignored users go to poked, all others to the
// homeserver. With poked stopped or hanging the homeserver answers: clients start, change
// rules and pushers, and log out. poked catches up when it is back.
func TestG15PushAwayIsNotTheHomeserverAway(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	for name, startProxy := range proxies() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hs := homeserverOf(t)
			for _, device := range []string{"LAPTOP", "TABLET", "DESK"} {
				hs.AddToken("alice-"+strings.ToLower(device), "@alice:example.org", device)
			}
			addr, data, registration := freeAddr(t), filepath.Join(t.TempDir(), "data"), writeRegistration(t)
			startPoked := func() *exec.Cmd {
				cmd, _ := startProgram(t, "serve", "--data", data, "--http", addr, "--homeserver", hs.URL, "--registration", registration,
					"--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", "2")
				return cmd
			}
			poked := startPoked()
			c := proxied{t, startProxy(t, strings.TrimPrefix(hs.URL, "http://"), addr)}
			alice := events.UserID("@alice:example.org")
			pushers := func() string { return c.ask("GET", "v3/pushers", "alice-desk", "") }

			// All is up.
			for _, device := range []string{"laptop", "tablet"} {
				c.ask("POST", "v3/pushers/set", "alice-"+device, pusherBody("key-"+device, "en"))
			}
			if keys := hs.Pushkeys(alice); len(keys) != 0 || !strings.Contains(pushers(), "key-tablet") {
				t.Errorf("the homeserver has pushers %q, poked %s", keys, pushers())
			}
			rule := "v3/pushrules/global/content/a%2Fb%3F"
			c.ask("PUT", rule, "alice-desk", `{"pattern":"a","actions":[]}`)
			if n := len(hs.Hits("PUT /_matrix/client/" + rule)); n != 1 {
				t.Errorf("the homeserver got the rule %d times: %v", n, hs.Hits("PUT"))
			}
			ignored := "v3/user/" + url.PathEscape(string(alice)) + "/account_data/m.ignored_user_list"
			c.ask("PUT", ignored, "alice-desk", `{"ignored_users":{"@bob:example.org":{}}}`)
			if got := c.ask("GET", "v3/account/whoami", "alice-desk", ""); !strings.Contains(got, "DESK") {
				t.Errorf("whoami: %s", got)
			}

			// It hangs.
			hang := func(how syscall.Signal) {
				if err := poked.Process.Signal(how); err != nil {
					t.Fatal(err)
				}
			}
			hang(syscall.SIGSTOP)
			c.ask("GET", "v3/pushrules/", "alice-desk", "")
			c.askAgain("PUT", "v3/pushrules/global/content/hung", "alice-desk", `{"pattern":"a","actions":["notify"]}`)
			c.ask("POST", "v3/pushers/set", "alice-laptop", pusherBody("key-laptop", "fr"))
			c.ask("GET", "v3/pushers", "alice-desk", "")
			c.ask("PUT", ignored, "alice-desk", `{"ignored_users":{}}`)
			c.ask("POST", "v3/logout", "alice-tablet", "{}")
			<-time.After(hangNoticed) // until poked must notice that it stood still
			hang(syscall.SIGCONT)
			caughtUp := func() bool {
				return len(hs.Pushkeys(alice)) == 0 && strings.Contains(pushers(), `"fr"`) && !strings.Contains(pushers(), "key-tablet")
			}
			eventstest.WaitFor(t, "poked to catch up after it hung", caughtUp)

			// It is down.
			if err := poked.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = poked.Wait() // it was killed
			c.ask("GET", "v3/pushrules/", "alice-desk", "")
			c.ask("PUT", "v3/pushrules/global/content/down", "alice-desk", `{"pattern":"a","actions":["notify"]}`)
			c.ask("POST", "v3/pushers/set", "alice-desk", pusherBody("key-desk", "en"))
			c.ask("PUT", ignored, "alice-desk", `{"ignored_users":{"@bob:example.org":{}}}`)
			c.ask("POST", "v3/logout", "alice-laptop", "{}")
			if keys := hs.Pushkeys(alice); len(keys) != 1 {
				t.Errorf("the homeserver has pushers %q", keys)
			}
			startPoked()
			eventstest.WaitFor(t, "poked to catch up after its start", func() bool {
				return len(hs.Pushkeys(alice)) == 0 && strings.Contains(pushers(), "key-desk") && !strings.Contains(pushers(), "key-laptop")
			})
		})
	}
}

// hangNoticed is longer than poked may stand still without noticing.
const hangNoticed = 6 * time.Second

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
