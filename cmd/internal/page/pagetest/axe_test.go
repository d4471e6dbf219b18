package pagetest_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"poked/cmd/internal/clitest"
	"poked/events/eventstest"
)

// axe returns the source of axe-core, which npm installs. Without npm the test is skipped.
func axe(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("SKIPPED, accessibility was not checked: axe-core comes from the npm registry, and there is no npm")
	}
	ctx, cancel := context.WithTimeout(t.Context(), eventstest.Patience)
	defer cancel()
	modules, err := clitest.NodeModules(ctx, filepath.Join("testdata", "axe"))
	if err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("SKIPPED, accessibility was not checked: npm cannot install axe-core: %v", err)
		}
		t.Fatalf("npm cannot install axe-core: %v", err)
	}
	source, err := os.ReadFile(filepath.Join(modules, "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

// pages are the addresses of all pages of a stand that was furnished and has dead letters.
func (s *stand) pages(event string) map[string]string {
	return map[string]string{
		"well": "/", "gateways": "/gateways", "gateway": "/gateways?origin=" + s.fails.URL, "history": "/history", "login": "/login", "problem": "/nowhere",
		"person": "/person?user=@alice:example.org", "person-form": "/person", "dead": "/dead", "letter": "/dead/1",
		"trace": "/trace?rules=1&event=" + event, "trace-form": "/trace", "trace-never": "/trace?event=$never",
		"trace-room": "/trace?room=!kitchen:example.org&at=" + time.Now().UTC().Format("15:04"),
		"confirm":    "/do/try?user=@bob:example.org", "confirm-dead": "/do/drop-dead?all=1", "entry": "/history/1",
	}
}

// Each page, in light and dark, on a desk and on a phone: no horizontal scrollbar, no serious
// finding of axe-core, and no script of a hostile name runs. The screenshots are kept.
func TestPagesInABrowser(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	b := openBrowser(t)
	checks := axe(t)
	s := startStand(t, "--ops-token-file", write(t, "token", token+"\n"))
	event := s.furnish()
	s.bury()
	b.logIn(s)
	b.open(s.ops + "/do/test?user=@alice:example.org")
	b.confirm("Send it")
	for name, path := range s.pages(event) {
		b.open(s.ops + path)
		get(b, chromedp.Evaluate[chromedp.Void](checks+";undefined"))
		for in, l := range looks() {
			if os.Getenv("POKED_ARTIFACTS") == "" && in != "light" && in != "dark-phone" {
				continue // these two show each colour and each layout
			}
			b.with(l)
			if wide := get(b, chromedp.Evaluate[int]("document.documentElement.scrollWidth - document.documentElement.clientWidth")); wide > 0 {
				t.Errorf("%s %s is %d pixels too wide", name, in, wide)
			}
			if title := get(b, chromedp.Title()); !strings.HasSuffix(title, "· poked") {
				t.Errorf("%s %s has the title %q", name, in, title)
			}
			b.keep(name + "-" + in)
			for _, finding := range b.axe() {
				t.Errorf("%s %s: %s", name, in, finding)
			}
		}
	}
}

// axe returns what axe-core, which the page has loaded, finds on it that is serious or critical.
func (b *browser) axe() (found []string) {
	b.t.Helper()
	raw := get(b, chromedp.Evaluate[string](`axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations.map(v =>
		({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map(n => n.html.slice(0, 200) + " " + (n.any[0] ? n.any[0].message : ""))}))))`, chromedp.EvalAwaitPromise))
	var violations []struct {
		ID, Impact, Help string
		Nodes            []string
	}
	if err := json.Unmarshal([]byte(raw), &violations); err != nil {
		b.t.Fatal(err)
	}
	for _, v := range violations {
		if v.Impact == "serious" || v.Impact == "critical" {
			found = append(found, v.ID+": "+v.Help+": "+strings.Join(v.Nodes, "\n  "))
		} else {
			b.t.Logf("%s (%s): %s", v.ID, v.Impact, v.Nodes)
		}
	}
	return found
}
