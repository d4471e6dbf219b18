package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/serviceworker"
	"github.com/chromedp/chromedp"

	"poked/events/eventstest"
	"poked/events/webpush/webpushtest"
)

// startWebPush starts serve with web push, and returns its addresses.
func startWebPush(t *testing.T) deployment {
	t.Helper()
	p, where := start(t, "serve", "--data", t.TempDir()+"/data", "--tokens", writeFile(t, "tokens", "alice-token @alice:example.org PHONE\n"),
		"--http", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--webpush-subject", "mailto:push@matrix.org",
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", "2")
	return deployment{http: fmt.Sprintf("http://%s", where["http"]), nats: fmt.Sprintf("nats://%s", where["nats"]), processes: []*process{p}}
}

// keepTalking publishes messages of Bob until a test has got one.
func keepTalking(t *testing.T, nats string, got func() bool) {
	t.Helper()
	publishAll(t, nats, "--historical", memberEvent("alice"), memberEvent("bob"))
	for n := range 100 { // the dispatcher may not know the pusher yet
		publishAll(t, nats, saidByBob(fmt.Sprintf("$said-%d", n)))
		for end := time.Now().Add(time.Second); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
			if got() {
				return
			}
		}
	}
	t.Fatal("no push arrives")
}

// mautrix-go registers a web push pusher, acknowledges it and decrypts a message. The library comes
// from the module proxy; if it cannot be had the test is skipped.
func TestMautrixWebPush(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(fromRoot("testdata", "clients", "mautrix"))); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "client", ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, mautrix-go was not tried: it cannot be built: %v\n%s", err, out)
	}
	d := startWebPush(t)
	client := exec.CommandContext(t.Context(), dir+"/client", "webpush", d.http, "@alice:example.org", "alice-token")
	var problems strings.Builder
	client.Stderr = &problems
	out, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "active" {
		t.Fatalf("the client says %q, %v: %s", lines.Text(), client.Wait(), &problems)
	}
	said := make(chan string, 1)
	go func() {
		lines.Scan()
		said <- lines.Text()
	}()
	keepTalking(t, d.nats, func() bool { return len(said) > 0 })
	if body := <-said; body != "hello" || client.Wait() != nil {
		t.Errorf("the client got %q: %s", body, &problems)
	}
}

// pushes is a push service that keeps what it is sent.
type pushes struct {
	*httptest.Server

	bodies chan []byte
}

func startPushService(t *testing.T) pushes {
	t.Helper()
	p := pushes{bodies: make(chan []byte, 1000)}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			p.bodies <- body
		}
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(p.Close)
	return p
}

// tab is a tab of a real Chromium, with notifications allowed.
type tab struct {
	t       *testing.T
	ctx     context.Context //nolint:containedctx // chromedp keeps a tab in a context
	workers chan serviceworker.RegistrationID
}

func openTab(t *testing.T, origin string) *tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal("this test needs Chromium, from Debian's package chromium")
	} else if err != nil {
		t.Skip("this test needs Chromium, from Debian's package chromium")
	}
	ctx, end := chromedp.NewContext(t.Context(), chromedp.WithErrorf(t.Logf), chromedp.WithAllocatorOptions(
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-dev-shm-usage", true),
	))
	t.Cleanup(end)
	b := &tab{t, ctx, make(chan serviceworker.RegistrationID, 100)}
	if err := chromedp.Do(ctx); err != nil { // no time limit: it would stop the browser
		t.Fatalf("start Chromium: %v", err)
	}
	if err := chromedp.Listen(ctx, func(event any) {
		if updated, ok := event.(*serviceworker.EventWorkerRegistrationUpdated); ok {
			for _, r := range updated.Registrations {
				b.workers <- r.RegistrationID
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, serviceworker.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	_, err = chromedp.CallBrowser(ctx, browser.SetPermission, browser.SetPermissionParams{
		Permission: &browser.PermissionDescriptor{Name: "notifications"}, Setting: browser.PermissionSettingGranted, Origin: origin,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// until waits until the expression is a text that holds another.
func (b *tab) until(expression, want string) {
	b.t.Helper()
	got := ""
	for end := time.Now().Add(eventstest.Patience); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
		var err error
		if got, err = chromedp.Run(b.ctx, chromedp.Evaluate[string](expression)); err == nil && strings.Contains(got, want) {
			return
		}
	}
	b.t.Fatalf("%s is %q, want %q", expression, got, want)
}

// A real browser registers as a pusher, acknowledges it, and its service worker shows a message. The
// browser cannot subscribe at its maker's push service here, so the test is its push service, opens
// what poked sends with the keys of the subscription, and gives it to the service worker as the browser
// would.
func TestChromiumShowsAPush(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	page := httptest.NewServer(http.FileServer(http.Dir(fromRoot("testdata", "clients", "web"))))
	defer page.Close()
	b, service, d := openTab(t, page.URL), startPushService(t), startWebPush(t)
	keys, err := webpushtest.New()
	if err != nil {
		t.Fatal(err)
	}
	subscription, err := json.Marshal(map[string]any{
		"endpoint": service.URL + "/any/path", "keys": map[string]string{"p256dh": keys.Pushkey(), "auth": keys.Auth()},
	})
	if err != nil {
		t.Fatal(err)
	}
	given := url.Values{"homeserver": {d.http}, "token": {"alice-token"}, "subscription": {string(subscription)}}
	if err := chromedp.Do(b.ctx, chromedp.Navigate(page.URL+"/index.html#"+strings.ReplaceAll(given.Encode(), "+", "%20"))); err != nil {
		t.Fatal(err)
	}
	worker := <-b.workers
	push := func(body []byte) {
		message, err := keys.Open(body)
		if err != nil {
			t.Fatal(err)
		}
		_, err = chromedp.Call(b.ctx, serviceworker.DeliverPushMessage, serviceworker.DeliverPushMessageParams{
			Origin: page.URL, RegistrationID: worker, Data: string(message),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const state = "document.querySelector('#state').textContent"
	b.until(state, "waiting for the acknowledgement")
	push(<-service.bodies)
	b.until(state, "active")
	keepTalking(t, d.nats, func() bool { return len(service.bodies) > 0 })
	push(<-service.bodies)
	b.until("document.querySelector('#shown').innerText", "@bob:example.org: hello") // once it is a notification
}
