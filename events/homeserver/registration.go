package homeserver

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"

	"go.yaml.in/yaml/v4"

	"poked/events"
)

// Registration is the registration file of an application service, which the homeserver
// reads as well (application service API, "Registration").
type Registration struct {
	ID  string `yaml:"id"`
	URL string `yaml:"url"` // where the homeserver reaches the bridge
	// ASToken authenticates poked to the homeserver, HSToken the homeserver to poked.
	ASToken    string `yaml:"as_token"`
	HSToken    string `yaml:"hs_token"`
	Sender     string `yaml:"sender_localpart"`
	Namespaces struct {
		Users []Namespace `yaml:"users"`
	} `yaml:"namespaces"`

	users []*regexp.Regexp
}

// Namespace is a set of ids, given by a regular expression.
type Namespace struct {
	Exclusive bool   `yaml:"exclusive"`
	Regex     string `yaml:"regex"`
}

// minTokenBytes is the minimum length of a token, so that it cannot be guessed.
const minTokenBytes = 16

// ReadRegistration reads a registration file and refuses one that would do harm, such as
// an exclusive namespace. Its errors contain no token.
func ReadRegistration(path string) (*Registration, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read registration: %w", err)
	}
	r, err := parseRegistration(text)
	if err != nil {
		return nil, fmt.Errorf("read registration %s: %w", path, err)
	}
	return r, nil
}

func parseRegistration(text []byte) (*Registration, error) {
	var r Registration
	if err := yaml.Unmarshal(text, &r); err != nil {
		return nil, errors.New("it is not a registration in YAML") // err may contain a token
	}
	switch {
	case len(r.ASToken) < minTokenBytes || len(r.HSToken) < minTokenBytes:
		return nil, fmt.Errorf("as_token and hs_token must have at least %d bytes each", minTokenBytes)
	case r.ASToken == r.HSToken:
		return nil, errors.New("as_token and hs_token must differ")
	case len(r.Namespaces.Users) == 0:
		return nil, errors.New("namespaces.users is empty: the homeserver would send nothing")
	}
	for _, ns := range r.Namespaces.Users {
		if ns.Exclusive {
			return nil, errors.New("namespaces.users is exclusive: these users could not log in, and some homeservers would send them no push")
		}
		users, err := regexp.Compile("^(?:" + ns.Regex + ")$")
		if err != nil {
			return nil, errors.New("namespaces.users has an invalid regular expression")
		}
		r.users = append(r.users, users)
	}
	return &r, nil
}

// IsLocal reports whether a user is in the namespace, that is, on this homeserver.
func (r *Registration) IsLocal(user events.UserID) bool {
	for _, users := range r.users {
		if users.MatchString(string(user)) {
			return true
		}
	}
	return false
}

// NewToken returns a random token of 256 bits.
func NewToken() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
