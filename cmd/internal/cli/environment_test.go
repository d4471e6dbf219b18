package cli

import (
	"testing"

	"github.com/alecthomas/kong"
)

// An environment variable means one thing, whichever command reads it: it sets flags of one
// name, of one kind and without different defaults. What a shell sets for the operator's
// commands must not turn poked serve to another NATS, nor change what is overwritten.
func TestEnvironmentVariablesMeanOneThing(t *testing.T) {
	parser, err := Poked().Parser()
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]*kong.Flag{}
	for _, command := range parser.Model.Leaves(false) {
		for _, flag := range command.Flags {
			for _, env := range flag.Envs {
				other := first[env]
				if other == nil {
					first[env] = flag
					continue
				}
				if flag.Name != other.Name || flag.PlaceHolder != other.PlaceHolder || flag.HasDefault && other.HasDefault && flag.Default != other.Default {
					t.Errorf("%s is --%s of %s (default %q), and --%s elsewhere (default %q)", env, flag.Name, command.Path(), flag.Default, other.Name, other.Default)
				}
			}
		}
	}
	t.Setenv("POKED_NATS", "nats://elsewhere:4222")
	if got := poked(t, "", "serve", "--tokens", "a", "--nats-listen", "nowhere"); got.Code != ExitUsage || got.Stderr != "poked: serve: --nats-listen must be an address such as 127.0.0.1:4222 (see poked --help)\n" {
		t.Errorf("serve with the operator's POKED_NATS: exit code %d, %s", got.Code, got.Stderr)
	}
}
