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

// Registration is how a homeserver and poked know each other: the file that the
// homeserver's operator gives to it (application service API, "Registration").
type Registration struct {
	ID  string `yaml:"id"`
	URL string `yaml:"url"` // where the homeserver reaches the bridge
	// ASToken is what poked shows to the homeserver, HSToken the reverse.
	ASToken    string `yaml:"as_token"`
	HSToken    string `yaml:"hs_token"`
	Sender     string `yaml:"sender_localpart"`
	Namespaces struct {
		Users []Namespace `yaml:"users"`
	} `yaml:"namespaces"`

	users []*regexp.Regexp
}

// Namespace is a set of ids, by a regular expression.
type Namespace struct {
	Exclusive bool   `yaml:"exclusive"`
	Regex     string `yaml:"regex"`
}

// minTokenBytes keeps an operator from tokens that can be guessed.
const minTokenBytes = 16

// ReadRegistration reads a registration file and refuses one that would do harm.
// Its errors repeat no token.
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
		return nil, errors.New("it is not the YAML of a registration") // the error may hold what it read
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
			return nil, errors.New("namespaces.users is exclusive: these users could not log in, and some homeservers would notify them of nothing")
		}
		users, err := regexp.Compile("^(?:" + ns.Regex + ")$")
		if err != nil {
			return nil, errors.New("namespaces.users has a regular expression that cannot be read")
		}
		r.users = append(r.users, users)
	}
	return &r, nil
}

// IsLocal reports whether a user is in the namespace: one of the homeserver's own.
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
