package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"poked/cmd/internal/clitest"
	"poked/events"
	"poked/events/eventstest"
)

func readme(t *testing.T) clitest.Page {
	t.Helper()
	return clitest.ReadPage(t, fromRoot("README.md"))
}

// Everything that the README and the page of the bridge name exists: commands and their flags,
// environment variables, files, and the targets of links.
func TestPagesNameWhatExists(t *testing.T) {
	parser, err := Poked().Parser()
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []clitest.Page{readme(t), clitest.ReadPage(t, fromRoot("events", "bridge", "README.md")), clitest.ReadPage(t, fromRoot("cmd", "poked", "deploy", "README.md"))} {
		page.CheckCommands(t, parser)
		page.CheckFlags(t, parser)
		page.CheckLinks(t)
		page.CheckFiles(t, fromRoot(), "alerts.yml", "dashboard.json", "tokens.txt", "poked.db", "poked-registration.yaml", "pushers.csv",
			"homeserver.yaml", "dendrite.yaml", "homeserver.db") // the last three are a homeserver's
		checkPorts(t, page)
	}
}

// checkPorts checks that a page uses poked's default ports.
func checkPorts(t *testing.T, page clitest.Page) {
	t.Helper()
	known := []string{"8720", "8721", "8722", "8723", "4222", "8008"} // the last two are NATS' and the homeserver's
	for _, found := range regexp.MustCompile(`127\.0\.0\.1:(\d+)`).FindAllStringSubmatch(page.Text, -1) {
		if len(found[1]) < 5 && !slices.Contains(known, found[1]) { // five digits: chosen by the system
			t.Errorf("%s: nothing has port %s", page.Path, found[1])
		}
	}
}

// The README is short, and contains the words that operators search for.
func TestReadmeIsShort(t *testing.T) {
	page := readme(t)
	lines := strings.Split(strings.TrimSuffix(page.Text, "\n"), "\n")
	if len(lines) >= 200 {
		t.Errorf("README.md has %d lines, want less than 200", len(lines))
	}
	for i, line := range lines {
		if n := utf8.RuneCountInString(line); n > 110 {
			t.Errorf("README.md:%d has %d characters, want 110 at most", i+1, n)
		}
	}
	text := strings.ToLower(strings.Join(strings.Fields(page.Text), " "))
	for _, term := range []string{
		"at-least-once", "retries", "backoff", "rate limit", "circuit breaker", "backlog", "offset", "dead letter", "concurrency limit",
	} {
		if !strings.Contains(text, term) {
			t.Errorf("README.md does not have %q", term)
		}
	}
}

// Each guarantee of the README has tests of its name.
func TestReadmeGuaranteesHaveTests(t *testing.T) {
	promised := map[string]bool{}
	for _, found := range regexp.MustCompile(`(?m)^- \*\*(G\d+)\*\* `).FindAllStringSubmatch(readme(t).Text, -1) {
		promised[found[1]] = true
	}
	tested := map[string]bool{}
	name := regexp.MustCompile(`(?m)^func Test(G\d+)[A-Z]`)
	err := filepath.WalkDir(fromRoot(), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, found := range name.FindAllSubmatch(raw, -1) {
			tested[string(found[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for guarantee := range promised {
		if !tested[guarantee] {
			t.Errorf("README.md promises %s, which no test is named after", guarantee)
		}
	}
	if len(promised) < 12 {
		t.Errorf("README.md promises %d guarantees", len(promised))
	}
}

// The README's test vector of T is right.
func TestReadmeTestVector(t *testing.T) {
	vector := regexp.MustCompile("`T\\(\"([^\"]+)\"\\)` is `([^`]+)`").FindStringSubmatch(strings.Join(strings.Fields(readme(t).Text), " "))
	if len(vector) < 3 || events.Token(vector[1]) != vector[2] {
		t.Errorf("the test vector is %q", vector)
	}
}

// The README's first poke arrives, exactly as written there.
func TestReadmeFirstPoke(t *testing.T) {
	eventstest.Long(t)
	_, section, _ := strings.Cut(readme(t).Text, "## Your own first poke")
	section, _, _ = strings.Cut(section, "\n## ")
	part := func(pattern string) string {
		t.Helper()
		found := regexp.MustCompile(pattern).FindStringSubmatch(section)
		if found == nil {
			t.Fatalf("README.md: nothing matches %s", pattern)
		}
		return found[1]
	}
	tokens := writeFile(t, "tokens", strings.ReplaceAll(part(`printf '(.*)' > tokens.txt`), `\n`, "\n"))
	pusher := part(`(?s)/pushers/set -d '(.*?)'\n`)
	lines := strings.NewReplacer("\\\n", "", `\$`, "$").Replace(part(`(?s)publish <<END\n(.*?)\n    END\n`))
	want := part(`    \d\d:\d\d:\d\d\.\d{3}(  200 .*)\n`)

	_, where := start(t, "serve", "--data", t.TempDir(), "--tokens", tokens, "--http", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http")
	ran := tryGateway(t, []string{"--print"}, func(url string, printed *eventstest.LogBuffer) {
		pusher = strings.Replace(pusher, "http://127.0.0.1:8722/_matrix/push/v1/notify", url, 1)
		if !json.Valid([]byte(pusher)) {
			t.Fatalf("the pusher is not JSON: %s", pusher)
		}
		set := fmt.Sprintf("http://%s%s", where["http"], part(`http://127\.0\.0\.1:8720(/\S+)`))
		if status, _, answer := post(t, http.MethodPost, set, pusher, part(`Authorization: Bearer (.*?)'`)); status != http.StatusOK {
			t.Fatalf("the pusher is answered %d %s", status, answer)
		}
		// There is no guarantee how soon a dispatcher knows a new pusher.
		again := time.NewTicker(200 * time.Millisecond)
		defer again.Stop()
		for n := 0; n < 100 && printed.String() == ""; n++ {
			poked(t, strings.ReplaceAll(lines, `"$3"`, fmt.Sprintf(`"$3-%d"`, n)), "publish", "--nats", fmt.Sprintf("nats://%s", where["nats"])).
				Want(t, ExitOK, "", "published 3 events")
			<-again.C
		}
	})
	_, got, _ := strings.Cut(ran.Stdout, "\n")
	got, _, _ = strings.Cut(got, "\n")
	if len(got) < 12 || got[12:] != want {
		t.Errorf("the gateway printed %q, and the README %q", ran.Stdout, want)
	}
}

// The unit file starts poked as the page of the bridge does, with flags that exist.
func TestUnitFileStartsPoked(t *testing.T) {
	raw, err := os.ReadFile(fromRoot("cmd", "poked", "deploy", "poked.service"))
	if err != nil {
		t.Fatal(err)
	}
	command := func(text, pattern string) []string {
		t.Helper()
		found := regexp.MustCompile(pattern).FindStringSubmatch(strings.ReplaceAll(text, "\\\n", ""))
		if found == nil {
			t.Fatalf("nothing is like %s", pattern)
		}
		return strings.Fields(found[1])
	}
	unit := command(string(raw), `(?m)^ExecStart=/usr/bin/poked (.*)$`)
	page := command(clitest.ReadPage(t, fromRoot("events", "bridge", "README.md")).Text, `(?m)^    /usr/bin/poked (serve .*)$`)
	if !slices.Equal(unit, page) {
		t.Errorf("the unit starts %q, the page %q", unit, page)
	}
	parser, err := Poked().Parser()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(unit); err != nil {
		t.Errorf("%q: %v", unit, err)
	}
}
