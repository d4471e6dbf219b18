package pagetest_test

import (
	"context"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"poked/cmd/internal/cli"
	"poked/cmd/internal/page"
	"poked/dispatcher/dispatchertest"
	"poked/dispatcher/trace"
	"poked/events/eventstest"
	"poked/events/stream"
)

// openPage returns the page of a deployment, in its bubble.
func openPage(t *testing.T, h *dispatchertest.Harness) *page.Page {
	t.Helper()
	p, err := page.New(page.Config{Loopback: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { // until stop
		defer close(ended)
		p.Run(ctx, stream.Config{Name: "page", InProcess: h.Server}, func() []stream.Status { return nil })
	}()
	t.Cleanup(func() { stop(); <-ended })
	<-time.After(time.Second)
	return p
}

// read returns the text of a page.
func read(t *testing.T, p *page.Page, path string) string {
	t.Helper()
	answer := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	req.Host = "localhost"
	p.ServeHTTP(answer, req)
	if answer.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, answer.Code, answer.Body)
	}
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(answer.Body.String(), " ")
	return strings.Join(strings.Fields(html.UnescapeString(text)), " ")
}

// For each reason why a phone may stay silent, the page and the command tell it (G16).
//
// Bubbles of fake time need a process without a server outside: the test runs itself in one.
func TestG16PageAndCommandTellWhyItDidNotRing(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	if os.Getenv(inBubbles) == "" {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
		again.Env = append(os.Environ(), inBubbles+"=1")
		if out, err := again.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
			t.Errorf("in a process of its own: %v\n%s", err, out)
		}
		return
	}
	for name, silence := range dispatchertest.Silences() {
		t.Run(name, func(t *testing.T) {
			dispatchertest.Bubble(t, func(t *testing.T, h *dispatchertest.Harness) {
				silence.Prepare(h)
				p := openPage(t, h)
				traced, err := trace.Run(t.Context(), h.Conn, trace.Query{Event: "$m", User: "@bob:x"})
				if err != nil {
					t.Fatal(err)
				}
				if said := cli.TraceText(traced, time.Now()); !strings.Contains(said, silence.Text) {
					t.Errorf("the command lacks %q:\n%s", silence.Text, said)
				}
				for _, path := range []string{"/trace?event=$m&user=@bob:x", "/trace?event=$m&room=!r"} {
					if said := read(t, p, path); !strings.Contains(said, silence.Text) {
						t.Errorf("the page %s lacks %q:\n%s", path, silence.Text, said)
					}
				}
				if found := read(t, p, "/trace?room=!r&user=@bob:x&at="+traced.At.UTC().Format("2006-01-02T15:04:05")); !strings.Contains(found, "$m") {
					t.Errorf("by room and time the page does not find it:\n%s", found)
				}
			})
		})
	}
	t.Run("never published", func(t *testing.T) {
		dispatchertest.Bubble(t, func(t *testing.T, h *dispatchertest.Harness) {
			h.Start()
			h.Room("!r", "@alice:x", "@bob:x")
			p := openPage(t, h)
			for _, path := range []string{"/trace?event=$m&user=@bob:x", "/trace?event=$m&room=!r"} {
				if said := read(t, p, path); !strings.Contains(said, "poked has not received this event") {
					t.Errorf("the page %s says\n%s", path, said)
				}
			}
			if said := read(t, p, "/trace?room=!r&at=2001-01-01T12:00"); !strings.Contains(said, "poked received no event of this room") {
				t.Errorf("by room and time the page says\n%s", said)
			}
		})
	})
}
