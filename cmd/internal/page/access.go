package page

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

const (
	minToken      = 16       // characters of a token
	maxTokenBytes = 64 << 10 // of the file
	sessionFor    = 12 * time.Hour
	maxSessions   = 64 // the oldest goes when there are more
	sessionCookie = "poked_session"
)

// Guesses of the token are slowed down: after loginBurst of them one is looked at every
// loginEvery.
const (
	loginEvery = 2 * time.Second
	loginBurst = 10
)

// access decides who may look and who may act.
type access struct {
	cfg    Config
	token  atomic.Pointer[[sha256.Size]byte] // its digest; nil if there is none
	logins *rate.Limiter
	origin *http.CrossOriginProtection

	mu       sync.Mutex
	sessions map[[sha256.Size]byte]session // by the digest of their cookie
}

// session is one login.
type session struct {
	since time.Time
	token [sha256.Size]byte // with which it began: another token ends it
}

func newAccess(cfg Config) (*access, error) {
	a := &access{
		cfg: cfg, sessions: map[[sha256.Size]byte]session{},
		logins: rate.NewLimiter(rate.Every(loginEvery), loginBurst), origin: http.NewCrossOriginProtection(),
	}
	if cfg.TokenFile == "" {
		return a, nil
	}
	return a, a.reread()
}

// reread reads the token. After an error the one from before stays valid.
func (a *access) reread() error {
	if a.cfg.TokenFile == "" {
		return nil
	}
	token, err := ReadToken(a.cfg.TokenFile)
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(token))
	a.token.Store(&digest)
	return nil
}

// ReadToken reads the token of --ops-token-file: the only line of a regular file. Its errors
// contain no part of it.
func ReadToken(path string) (string, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("open token file: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("open token file %s: it is not a regular file", path)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxTokenBytes))
	if err != nil {
		return "", fmt.Errorf("read token file: %w", err)
	}
	words := strings.Fields(string(content))
	if len(words) != 1 || len(words[0]) < minToken {
		return "", fmt.Errorf("read token file %s: want one token of at least %d characters, such as openssl rand -hex 24 prints", path, minToken)
	}
	return words[0], nil
}

// canAct reports whether there is a token, without which there are no actions.
func (a *access) canAct() bool { return a.token.Load() != nil }

// matches reports whether a text is the token, in a time that does not depend on how much of it
// is right.
func (a *access) matches(text string) bool {
	token := a.token.Load()
	return token != nil && sha256.Sum256([]byte(text)) == *token
}

// mayLook reports whether a request may read pages.
func (a *access) mayLook(r *http.Request) bool {
	return a.cfg.Loopback && isLocal(r) || a.mayAct(r)
}

// mayAct reports whether a request carries the token, or the cookie of a login.
func (a *access) mayAct(r *http.Request) bool {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return a.logins.Tokens() >= 1 && a.guess(strings.TrimSpace(token))
	}
	return a.inSession(r)
}

// guess reports whether a text is the token, and slows down who guesses.
func (a *access) guess(text string) bool {
	if a.matches(text) {
		return true
	}
	a.logins.Allow()
	return false
}

// isLocal reports whether a request names a loopback host and came through no proxy.
func isLocal(r *http.Request) bool {
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if r.Header.Get(header) != "" {
			return false
		}
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// errTooManyGuesses is shown to who has guessed too often.
var errTooManyGuesses = errors.New("too many attempts: wait for a few seconds")

// logIn begins a session for who knows the token, and returns the cookie.
func (a *access) logIn(token string, secure bool) (*http.Cookie, error) {
	if a.logins.Tokens() < 1 {
		return nil, errTooManyGuesses
	}
	if !a.guess(token) {
		return nil, errors.New("that is not the token in the file of --ops-token-file")
	}
	id := rand.Text()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.makeRoom()
	a.sessions[sha256.Sum256([]byte(id))] = session{since: time.Now(), token: *a.token.Load()}
	return &http.Cookie{ //nolint:gosec // Secure over HTTPS: on loopback there is none
		Name: sessionCookie, Value: id, Path: "/", MaxAge: int(sessionFor.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: secure,
	}, nil
}

// makeRoom removes the oldest session if there are many.
func (a *access) makeRoom() {
	var oldest [sha256.Size]byte
	var since time.Time
	for id, s := range a.sessions {
		if since.IsZero() || s.since.Before(since) {
			oldest, since = id, s.since
		}
	}
	if len(a.sessions) >= maxSessions {
		delete(a.sessions, oldest)
	}
}

// inSession reports whether a request has the cookie of a session that is valid.
func (a *access) inSession(r *http.Request) bool {
	cookie, err := r.Cookie(sessionCookie)
	token := a.token.Load()
	if err != nil || token == nil {
		return false
	}
	id := sha256.Sum256([]byte(cookie.Value))
	a.mu.Lock()
	defer a.mu.Unlock()
	s, known := a.sessions[id]
	if known && (time.Since(s.since) >= sessionFor || s.token != *token) {
		delete(a.sessions, id)
		known = false
	}
	return known
}

// logOut ends the session of a request.
func (a *access) logOut(r *http.Request) *http.Cookie {
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.sessions, sha256.Sum256([]byte(cookie.Value)))
	}
	return &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode} //nolint:gosec // it is empty
}

// secure sets the headers that every answer of the page has.
func (a *access) secure(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// isHTTPS reports whether the browser reached the page over TLS, as its proxy says.
func isHTTPS(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// localPath returns a path of this page to go on to after a login: never one elsewhere.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(u.Path, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return u.RequestURI()
}
