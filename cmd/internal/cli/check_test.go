package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poked/events/eventstest"
)

// A configuration is checked as far as it goes without starting anything: flags, environment
// and the files that they name. Nothing is made.
func TestCheck(t *testing.T) {
	eventstest.Long(t)
	tokens, bad := writeFile(t, "tokens", "alice-token @alice:example.org\n"), writeFile(t, "bad", "SECRET-token\n")
	missing, data := filepath.Join(t.TempDir(), "missing"), filepath.Join(t.TempDir(), "data")
	registration := writeRegistration(t)
	t.Setenv("POKED_POKE_TTL", "1h")
	for args, want := range map[string]string{
		"serve --data " + data + " --tokens " + tokens: "",
		"serve --tokens " + missing:                    "no such file",
		"serve --tokens " + bad:                        "line 1",
		"serve":                                        "--tokens is missing",
		"serve --tokens " + tokens + " --colour":       "unknown flag --colour",
		"serve --homeserver http://a --registration " + registration + " --bridge-http 127.0.0.1:8721": "",
		"serve --homeserver http://a --registration " + missing:                                        "no such file",
		"registry --nats a --database b --tokens " + missing:                                           "no such file",
		"registry --nats a --database b --tokens " + tokens + " --nats-creds " + missing:               "no such file",
		"dispatcher --nats a":                                                  "",
		"dispatcher --nats a --delay-if-active 2h":                             "--delay-if-active must be shorter",
		"dispatcher --nats a --nats-tls-ca " + bad:                             "nats credentials",
		"bridge --nats a --homeserver http://a --registration " + missing:      "no such file",
		"bridge --nats a --homeserver http://a --registration " + bad:          "registration",
		"bridge --nats a --homeserver http://a --registration " + registration: "",
		"dispatcher --nats a --ops 127.0.0.1:0 --ops-token-file " + missing:    "no such file",
		"dispatcher --nats a --ops 127.0.0.1:0 --ops-token-file " + bad:        "at least 16 characters",
		"dispatcher --nats a --ops-token-file " + bad:                          "need --ops",
		"dispatcher --nats a --ops 127.0.0.1:0 --ops-nats-creds " + bad:        "--ops-nats-creds needs --ops-nats",
		"dispatcher --nats a --ops 127.0.0.1:0 --ops-nats ftp://x":             "--ops-nats must be URLs",
		"pushers": "",
		"sever":   "unexpected argument sever",
	} {
		got := poked(t, "", append([]string{"check"}, strings.Fields(args)...)...)
		if want == "" {
			got.Want(t, ExitOK, "is valid", "")
			continue
		}
		got.Want(t, ExitUsage, "", want)
		if strings.Count(got.Stderr, "\n") != 1 {
			t.Errorf("%s: %q", args, got.Stderr)
		}
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("the data directory was made")
	}
}
