package pagetest_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"poked/events/eventstest"
)

// logIn logs in by the form, from a page that needs it.
func (b *browser) logIn(s *stand) {
	b.t.Helper()
	b.open(s.ops + "/login")
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), token+kb.Enter))
	b.until("document.querySelector(\"form[action='/logout']\")")
}

// confirm clicks the button that begins an action, and returns what became of it.
func (b *browser) confirm(button string) string {
	b.t.Helper()
	b.click(button)
	b.until("document.querySelector('#progress') && !document.querySelector('#progress').innerText.includes('running')")
	return b.text()
}

// Each action tells first what it will do, does it, and stands in the history and the log.
func TestActions(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	b := openBrowser(t)
	s := startStand(t, "--ops-token-file", write(t, "token", token+"\n"))
	s.furnish()
	b.logIn(s)
	steps := []struct{ page, link, says, button, result string }{
		{"/person?user=@alice:example.org", "Test push to Alice", "one poke that is about no event", "Send it", "the gateway took the poke"},
		{"/person?user=@bob:example.org", "Try now", "instead of after their backoff", "Try now", "1 pusher is tried now"},
		{"/gateways?origin=" + s.fails.URL, "Try now", "2 pushers are selected, of which 2 lag", "Try now", "2 pushers are tried now"},
		{"/person?user=@bob:example.org", "Skip the one", "becomes a dead letter", "Skip it", "1 poke is a dead letter now"},
		{"/dead?user=@bob:example.org", "Retry these", "1 dead letter is selected: dead letters of @bob:example.org.", "Retry them", "Of 1 dead letters 1 retried"},
		{"/person?user=@alice:example.org", "Skip the one", "becomes a dead letter", "Skip it", "1 poke is a dead letter now"},
		{"/dead/2", "Drop", "cannot be undone", "Drop them", "Of 1 dead letters 1 dropped"},
	}
	for _, step := range steps {
		b.open(s.ops + step.page)
		b.click(step.link)
		if text := b.text(); !strings.Contains(text, step.says) {
			t.Errorf("%s on %s does not tell %q before it is done:\n%s", step.link, step.page, step.says, text)
		}
		if text := b.confirm(step.button); !strings.Contains(text, step.result) {
			t.Errorf("%s on %s: want %q\n%s", step.link, step.page, step.result, text)
		}
	}
	b.open(s.ops + "/history")
	text := b.text()
	for _, step := range steps {
		if !strings.Contains(text, step.result) {
			t.Errorf("the history lacks %q:\n%s", step.result, text)
		}
	}
	b.keep("history-full")
	log := s.logged()
	for _, verb := range []string{"test", "try", "skip", "retry-dead", "drop-dead"} {
		if !strings.Contains(log, `"msg":"an operator has begun an action on the page","action":"`+verb+`"`) {
			t.Errorf("the log lacks the action %s", verb)
		}
	}
	if strings.Contains(log, "PUSHKEY") || strings.Contains(log, token) {
		t.Error("the log has a secret")
	}
	if left := s.run("", "dead", "list", "--json"); left != "" {
		t.Errorf("dead letters are left: %s", left)
	}
}

// tabTo presses the Tab key until the focus is on a link or button with a text, and checks that
// the focus can be seen.
func (b *browser) tabTo(text string) {
	b.t.Helper()
	for range 60 {
		b.do(chromedp.KeyEvent(kb.Tab))
		at := get(b, chromedp.Evaluate[string]("document.activeElement.textContent.trim().replace(/\\s+/g, ' ')"))
		if !strings.HasPrefix(at, text) {
			continue
		}
		if outline := get(b, chromedp.Evaluate[string]("getComputedStyle(document.activeElement).outlineStyle")); outline == "none" {
			b.t.Errorf("nobody sees that the focus is on %q", text)
		}
		return
	}
	b.t.Fatalf("the Tab key does not reach %q", text)
}

// Everything can be done with the keyboard alone: skip the navigation, open a page by it, begin an
// action, confirm it.
func TestKeyboardAlone(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	b := openBrowser(t)
	s := startStand(t, "--ops-token-file", write(t, "token", token+"\n"))
	s.furnish()
	b.logIn(s)
	b.open(s.ops + "/")
	b.do(chromedp.KeyEvent(kb.Tab))
	if first := get(b, chromedp.Evaluate[string]("document.activeElement.textContent")); !strings.HasPrefix(first, "Skip") {
		t.Errorf("the first stop is %q", first)
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	if at := get(b, chromedp.Evaluate[string]("document.activeElement.id")); at != "main" {
		t.Errorf("after the skip link the focus is on %q", at)
	}
	b.open(s.ops + "/")
	b.tabTo("A person")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("document.querySelector('#user')")
	for get(b, chromedp.Evaluate[string]("document.activeElement.id")) != "user" {
		b.do(chromedp.KeyEvent(kb.Tab))
	}
	b.do(chromedp.KeyEvent("@bob:example.org" + kb.Enter))
	b.until("document.querySelector('#devices')")
	b.tabTo("Try now")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("document.querySelector('button.main')")
	b.tabTo("Try now")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("document.querySelector('#progress')?.innerText.includes('1 pusher is tried now')")
}
