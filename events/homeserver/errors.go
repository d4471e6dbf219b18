package homeserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// The kinds of errors; see the package comment.
var (
	ErrUnknownToken = errors.New("the homeserver does not know this access token")
	ErrRefused      = errors.New("the homeserver refuses")
	ErrCannotTell   = errors.New("the homeserver gives no valid answer")
)

// Error is an answer with a status other than 2xx. It wraps one of the three kinds.
type Error struct {
	Status     int
	Errcode    string // from the answer; "" if the answer was not a Matrix error
	SoftLogout bool   // with an unknown token: the client may refresh it
	kind       error
}

func (e *Error) Error() string {
	if e.Errcode == "" {
		return fmt.Sprintf("%v: status %d without a Matrix error", e.kind, e.Status)
	}
	return fmt.Sprintf("%v: %d %s", e.kind, e.Status, e.Errcode)
}

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.kind }

// IsErrcode reports whether err is an answer with this errcode.
func IsErrcode(err error, errcode string) bool {
	var answer *Error
	return errors.As(err, &answer) && answer.Errcode == errcode
}

// asError returns the error of an answer, or nil if its status is 2xx. An answer that is
// not a Matrix error is from something in between, such as a proxy.
func (a *Answer) asError() error {
	if a.Status/100 == 2 {
		return nil
	}
	var body struct {
		Errcode    string `json:"errcode"`
		SoftLogout bool   `json:"soft_logout"`
	}
	e := &Error{Status: a.Status, kind: ErrCannotTell}
	if json.Unmarshal(a.Body, &body) != nil || !isErrcode(body.Errcode) {
		return e
	}
	e.Errcode, e.SoftLogout = body.Errcode, body.SoftLogout
	switch a.Status {
	case http.StatusUnauthorized:
		if e.Errcode == "M_UNKNOWN_TOKEN" || e.Errcode == "M_MISSING_TOKEN" {
			e.kind = ErrUnknownToken
		} else {
			e.kind = ErrRefused
		}
	case http.StatusTooManyRequests:
	default:
		if a.Status/100 == 4 {
			e.kind = ErrRefused
		}
	}
	return e
}

// isErrcode reports whether s is an errcode that may be logged.
func isErrcode(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '.'
	})
}

// cannotTell wraps a transport error, without the URL, which may contain user ids.
func cannotTell(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	return fmt.Errorf("%w: %w", ErrCannotTell, err)
}
