package pagetest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"poked/events/eventstest"
)

func writeFile(path, content string) error { return os.WriteFile(path, []byte(content), 0o600) }

// chromium returns the path of Debian's Chromium. Without it the test is skipped, but not in CI:
// .ci/run installs it.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "google-chrome", "chromium-browser"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs Chromium, from Debian's package chromium")
	}
	t.Skip("this test needs Chromium, from Debian's package chromium")
	return ""
}

// browser is a tab of a real Chromium.
type browser struct {
	t   *testing.T
	tab context.Context //nolint:containedctx // chromedp keeps a tab in a context
}

// openBrowser starts Chromium with one tab.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	ctx, end := chromedp.NewContext(t.Context(), chromedp.WithErrorf(t.Logf), chromedp.WithAllocatorOptions(
		chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-dev-shm-usage", true),
	))
	t.Cleanup(end)
	b := &browser{t, ctx}
	if err := chromedp.Do(ctx); err != nil { // no time limit: it would stop the browser
		t.Fatalf("start Chromium: %v", err)
	}
	return b
}

// do does steps in the tab, and fails the test if one fails.
func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.tab, eventstest.Patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// get returns the value of an action in the tab.
func get[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.tab, eventstest.Patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return value
}

// open opens a page.
func (b *browser) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url), chromedp.WaitReady("main"))
}

// until waits until an expression is true on the page. Meanwhile the browser may be on its way to
// another page, where nothing can be evaluated for a moment.
func (b *browser) until(expression string) {
	b.t.Helper()
	for end := time.Now().Add(eventstest.Patience); ; <-time.After(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(b.tab, eventstest.Patience)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		cancel()
		if err == nil && ok {
			return
		}
		if time.Now().After(end) {
			at, _ := chromedp.Run(b.tab, chromedp.Location())
			b.t.Fatalf("%s does not come true at %s (%v):\n%s", expression, at, err, b.text())
		}
	}
}

// click clicks the link or button of the content whose text begins so, and waits until the page
// that follows is there.
func (b *browser) click(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`(() => {
		const all = [...document.querySelectorAll("main a, main button")]
		const one = all.find(e => e.textContent.trim().replace(/\s+/g, " ").startsWith(%q))
		if (one) { document.body.dataset.left = "yes"; one.click() }
		return one
	})()`, text))
	b.until("document.readyState === 'complete' && !document.body.dataset.left")
}

// text returns the text of the page's content, as a person sees it.
func (b *browser) text() string {
	b.t.Helper()
	return get(b, chromedp.Evaluate[string]("document.querySelector('main').innerText"))
}

// look is how somebody looks at a page.
type look struct {
	scheme        string // light or dark
	width, height int64
	phone         bool
}

func looks() map[string]look {
	return map[string]look{
		"light": {"light", 1280, 900, false}, "dark": {"dark", 1280, 900, false},
		"light-phone": {"light", 390, 844, true}, "dark-phone": {"dark", 390, 844, true},
	}
}

// with makes the tab look so.
func (b *browser) with(l look) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.tab, eventstest.Patience)
	defer cancel()
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}},
	})
	_, err2 := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.phone,
	})
	if err := errors.Join(err, err2); err != nil {
		b.t.Fatal(err)
	}
}

// keep writes a screenshot to the directory of artefacts, if there is one.
func (b *browser) keep(name string) {
	b.t.Helper()
	dir := os.Getenv("POKED_ARTIFACTS")
	if dir == "" {
		return
	}
	png := get(b, chromedp.FullScreenshot(100))
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)); err != nil {
		b.t.Error(err)
	}
}
