package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v4"

	"poked/events/eventstest"
)

// debianTool returns the path of a program that .ci/run installs, and skips the test without
// it.
func debianTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("this test needs %s, from Debian's package prometheus", name)
	}
	return path
}

// startMonitored starts all roles in one process, each with something to count, and returns
// the address of its operator's port.
func startMonitored(t *testing.T) (ops string) {
	t.Helper()
	_, where := start(t, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--http", "127.0.0.1:0", "--ops", "127.0.0.1:0",
		"--homeserver", homeserverOf(t).URL, "--registration", writeRegistration(t), "--bridge-http", "127.0.0.1:0",
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", "2")
	setPusher(t, fmt.Sprintf("http://%s", where["http"]), startGateway(t).url, "alice-pushkey")
	status, answer := request(t.Context(), t, "PUT", fmt.Sprintf("http://%s/_matrix/app/v1/transactions/1", where["bridge_http"]), eventstest.HSToken,
		`{"events":[{"event_id":"$1","room_id":"!room:example.org","type":"m.room.message","sender":"@bob:example.org","content":{}}]}`)
	if status != http.StatusOK {
		t.Fatalf("transaction: %d %s", status, answer)
	}
	return fmt.Sprint(where["ops"])
}

// prometheus is a real one that scrapes a process.
type prometheus struct{ url string }

// startPrometheus starts a Prometheus that scrapes an operator's port ten times a second.
func startPrometheus(t *testing.T, ops string) prometheus {
	t.Helper()
	path := debianTool(t, "prometheus")
	config := writeFile(t, "prometheus.yml", fmt.Sprintf(
		"scrape_configs: [{job_name: poked, scrape_interval: 100ms, scrape_timeout: 100ms, static_configs: [{targets: [%q]}]}]", ops))
	address := freeAddr(t)
	ctx, stop := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, path, "--config.file", config, "--storage.tsdb.path", t.TempDir(), "--web.listen-address", address)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = command.Wait() }) // it was killed
	p := prometheus{"http://" + address}
	eventstest.WaitFor(t, "prometheus", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return p
}

// query returns how many series an expression has.
func (p prometheus) query(t *testing.T, expression string) (series int, err error) {
	t.Helper()
	_, body := request(t.Context(), t, "GET", p.url+"/api/v1/query?query="+url.QueryEscape(expression), "", "")
	var answer struct {
		Status, Error string
		Data          struct{ Result []any }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return 0, err
	}
	if answer.Status != "success" {
		return 0, fmt.Errorf("%s", answer.Error)
	}
	return len(answer.Data.Result), nil
}

// Every expression of the dashboard has a value, and every expression of an alert is valid
// and uses metrics that exist, when a real Prometheus scrapes a process with all roles.
func TestMonitoringUsesWhatIsMeasured(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	ops := startMonitored(t)
	p := startPrometheus(t, ops)
	eventstest.WaitFor(t, "prometheus to have rates", func() bool {
		n, _ := p.query(t, "rate(poked_bridge_events_total[1m])")
		return n > 0
	})
	panels := dashboardExpressions(t)
	for _, expression := range panels {
		// A gauge has no value after a scrape that took too long, until the next one.
		eventstest.WaitFor(t, "a value of "+expression+", of dashboard.json", func() bool {
			n, err := p.query(t, strings.ReplaceAll(expression, "$__rate_interval", "1m"))
			return err == nil && n > 0
		})
	}
	_, body := get(t, ops, "/metrics")
	rules := alertRules(t)
	for _, rule := range rules {
		if _, err := p.query(t, rule.Expr); err != nil {
			t.Errorf("alerts.yml: %s: %v", rule.Alert, err)
		}
		for _, metric := range regexp.MustCompile(`poked_\w+`).FindAllString(rule.Expr, -1) {
			if !strings.Contains(body, "\n"+metric+"{") && !strings.Contains(body, "\n"+metric+" ") {
				t.Errorf("alerts.yml: %s uses %s, which /metrics does not have at the start", rule.Alert, metric)
			}
		}
		if rule.Annotations["runbook"] == "" || rule.Annotations["summary"] == "" || rule.Labels["severity"] == "" || rule.For == "" {
			t.Errorf("alerts.yml: %s lacks a runbook, a summary, a severity or a duration", rule.Alert)
		}
	}
	if len(panels) < 30 || len(rules) < 15 {
		t.Errorf("%d expressions and %d alerts were found", len(panels), len(rules))
	}
	lint := exec.CommandContext(t.Context(), debianTool(t, "promtool"), "check", "metrics")
	lint.Stdin = strings.NewReader(body)
	if out, err := lint.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// The alert rules are valid, and their runbooks name commands and flags that exist.
func TestAlertRules(t *testing.T) {
	file := fromRoot("cmd", "poked", "deploy", "alerts.yml")
	if out, err := exec.CommandContext(t.Context(), debianTool(t, "promtool"), "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
	parser, err := Poked().Parser()
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range alertRules(t) {
		for _, command := range regexp.MustCompile(`\bpoked (pushers|gateways|dead)( \w+)?`).FindAllStringSubmatch(rule.Annotations["runbook"], -1) {
			var found bool
			for _, node := range parser.Model.Children {
				found = found || node.Name == command[1]
			}
			if !found {
				t.Errorf("%s: there is no command %s", rule.Alert, command[0])
			}
		}
		for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(rule.Annotations["runbook"], -1) {
			var found bool
			for _, leaf := range parser.Model.Leaves(false) {
				found = found || slices.ContainsFunc(leaf.Flags, func(f *kong.Flag) bool { return "--"+f.Name == flag })
			}
			if !found {
				t.Errorf("%s: no command has %s", rule.Alert, flag)
			}
		}
	}
}

// alertRule is a rule of alerts.yml.
type alertRule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func alertRules(t *testing.T) (rules []alertRule) {
	t.Helper()
	raw, err := os.ReadFile(fromRoot("cmd", "poked", "deploy", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct{ Rules []alertRule }
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

// dashboardExpressions returns the expressions of all panels.
func dashboardExpressions(t *testing.T) (expressions []string) {
	t.Helper()
	raw, err := os.ReadFile(fromRoot("cmd", "poked", "deploy", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		t.Fatal(err)
	}
	for _, panel := range board.Panels {
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	return expressions
}

// Every metric of poked is described by a sentence, and what is counted is there before it
// happens.
func TestMetricsBeforeAnythingHappened(t *testing.T) {
	_, where := start(t, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--http", "127.0.0.1:0", "--ops", "127.0.0.1:0",
		"--tokens", writeFile(t, "tokens", "alice-token @alice:example.org\n"), "--partitions", "2")
	ops, body := fmt.Sprint(where["ops"]), ""
	var missing []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("/metrics has no %q", missing)
		}
	})
	eventstest.WaitFor(t, "all metrics", func() bool {
		_, body = get(t, ops, "/metrics")
		missing = slices.DeleteFunc(metricsAtTheStart(), func(want string) bool { return strings.Contains(body, "\n"+want) })
		return len(missing) == 0
	})
	for _, help := range regexp.MustCompile(`(?m)^# HELP (poked_\w+) (.*)$`).FindAllStringSubmatch(body, -1) {
		if !regexp.MustCompile(`^[A-Z0-9].*\.$|; 0 if there is none\.$`).MatchString(help[2]) {
			t.Errorf("%s: %s", help[1], help[2])
		}
	}
}

// metricsAtTheStart are metrics of poked serve that nobody has used yet, at the beginning of a line.
func metricsAtTheStart() []string {
	return []string{
		`poked_stream_messages{`,
		`poked_build_info{goversion="go1.`, `poked_ready 1`, `poked_partitions 2`,
		`poked_pokes_total{class="ok",outcome="delivered"} 0`, `poked_pokes_total{class="http_5xx",outcome="retry"} 0`,
		`poked_pokes_total{class="rejected",outcome="rejected"} 0`, `poked_dead_pokes_total{reason="expired"} 0`,
		`poked_gateways{state="open"} 0`, `poked_unreadable_total{stream="ROOMS"} 0`, `poked_unreadable_total{stream="KV_PUSHERS"} 0`,
		`poked_client_requests_total{path="/pushers/set",status="200"} 0`, `poked_outbox_published 1`,
	}
}
