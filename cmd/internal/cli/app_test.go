package cli

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"poked/cmd/internal/clitest"
	"poked/cmd/internal/node"
)

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestUsageErrors(t *testing.T) {
	tokens := writeFile(t, "tokens", "")
	for _, tt := range []struct {
		name string
		args []string
		want string // in the one line on standard error
	}{
		{"no command", nil, "expected one of"},
		{"unknown command", []string{"sever"}, "unexpected argument sever"},
		{"unknown flag", []string{"version", "--colour"}, "unknown flag --colour"},
		{"serve without tokens", []string{"serve"}, "--tokens is missing"},
		{"both kinds of NATS", []string{"serve", "--tokens", tokens, "--nats", "nats://a", "--nats-listen", ":4222"}, "exclude each other"},
		{"bad listen address", []string{"serve", "--tokens", tokens, "--nats-listen", "4222"}, "--nats-listen"},
		{"replicas of one server", []string{"serve", "--tokens", tokens, "--replicas", "3"}, "--replicas needs --nats"},
		{"even replicas", []string{"dispatcher", "--nats", "a", "--replicas", "2"}, "--replicas must be 1, 3 or 5"},
		{"more streams than partitions", []string{"dispatcher", "--nats", "a", "--partitions", "2", "--streams", "3"}, "--streams must be 1 to 2"},
		{"no partitions", []string{"dispatcher", "--nats", "a", "--partitions", "0"}, "--partitions"},
		{"fsync too often", []string{"serve", "--tokens", tokens, "--fsync", "1ns"}, "--fsync"},
		{"fsync never", []string{"serve", "--tokens", tokens, "--fsync", "never"}, "--fsync"},
		{"dispatcher without NATS", []string{"dispatcher"}, "--nats is missing"},
		{"registry without NATS", []string{"registry", "--database", "a", "--tokens", tokens}, "--nats is missing"},
		{"registry without database", []string{"registry", "--nats", "a", "--tokens", tokens}, "--database is missing"},
		{"bad gateway network", []string{"dispatcher", "--nats", "a", "--gateway-allow", "10.0.0.1/8"}, "10.0.0.1/8"},
		{"two bad gateways", []string{"dispatcher", "--nats", "a", "--gateway-allow", "10.0.0.1/8,a b"}, "; parse gateway allow"},
		{"http without allowed gateways", []string{"dispatcher", "--nats", "a", "--gateway-allow-http"}, "needs --gateway-allow"},
		{"bad log level", []string{"dispatcher", "--nats", "a", "--log-level", "loud"}, "--log-level"},
		{"bad log format", []string{"dispatcher", "--nats", "a", "--log-format", "xml"}, "--log-format"},
		{"gateway without an address", []string{"gateway", "--listen", "8722"}, "--listen must be"},
		{"gateway that answers 100", []string{"gateway", "--answer", "100"}, "--answer must be"},
		{"gateway with a retry after 1 ms", []string{"gateway", "--retry-after", "1ms"}, "--retry-after must be"},
		{"negative rate", []string{"publish", "--rate", "-1"}, "--rate"},
		{"every dead letter", []string{"dead", "drop"}, "--yes"},
		{"every dead letter up to a limit", []string{"dead", "retry", "--limit", "1"}, "--yes"},
		{"no time", []string{"dead", "list", "--since", "yesterday"}, "--since"},
		{"time in the future", []string{"dead", "list", "--until", "-1h"}, "--until"},
		{"unknown reason", []string{"dead", "list", "--reason", "old"}, "--reason must be"},
		{"negative limit", []string{"dead", "list", "--limit", "-1"}, "--limit"},
		{"negative rate of letters", []string{"dead", "drop", "--yes", "--rate", "-1"}, "--rate"},
		{"no letter", []string{"dead", "show"}, "seq"},
		{"letter by name", []string{"dead", "show", "first"}, "first"},
		{"unknown state", []string{"pushers", "--state", "sad"}, "--state must be"},
		{"user without a server", []string{"pushers", "--user", "alice"}, "--user: want a user id such as @alice:example.org"},
		{"empty user of a script", []string{"pushers", "retry", "--user", ""}, "--user: want a user id"},
		{"user of removed pushers", []string{"pushers", "removed", "--database", "a", "--user", "alice"}, "--user: want a user id"},
		{"user of a backfill", []string{"bridge", "backfill", "--user", "alice"}, "--user: want a user id"},
		{"gateway without a scheme", []string{"pushers", "--gateway", "push.example.org"}, "--gateway: want a gateway such as https://push.example.org, or refused: it must begin with https:// or http://"},
		{"path of a gateway", []string{"pushers", "skip", "--gateway", "/_matrix/push/v1/notify"}, "--gateway: want a gateway"},
		{"empty app", []string{"dead", "drop", "--app-id", ""}, "--app-id: want an app id"},
		{"room without !", []string{"dead", "list", "--room", "#room:example.org"}, "--room: want a room id such as !room:example.org"},
		{"wide and vertical", []string{"gateways", "--wide", "--vertical"}, "--wide and --vertical"},
		{"proxy without a scheme", []string{"dispatcher", "--nats", "a", "--gateway-proxy", "proxy:3128"}, "--gateway-proxy, --gateway-source: the proxy must"},
		{"source that is no address", []string{"serve", "--tokens", tokens, "--gateway-source", "eth0"}, "the source must be an IP address"},
		{"notices to a host", []string{"dispatcher", "--nats", "a", "--notify-url", "chat.example.org/SECRET"}, "--notify-url must be a URL"},
		{"notices at once", []string{"dispatcher", "--nats", "a", "--notify-url", "https://chat.example.org", "--notify-after", "0s"}, "--notify-after must be at least 1s"},
		{"gateways without NATS", []string{"gateways", "--nats", ""}, "--nats is missing"},
		{"serve with tokens and homeserver", []string{"serve", "--tokens", tokens, "--homeserver", "http://a"}, "exclude each other"},
		{"homeserver with a path", []string{"serve", "--homeserver", "http://a/_matrix"}, "--homeserver must end after the host"},
		{"homeserver of another scheme", []string{"serve", "--homeserver", "nats://a"}, "--homeserver must begin with"},
		{"homeserver with a password", []string{"serve", "--homeserver", "http://a:hunter2@b"}, "must not contain a user or password"},
		{"bridge in serve without homeserver", []string{"serve", "--tokens", tokens, "--bridge-http", ":8721"}, "--homeserver is missing"},
		{"bridge in serve without registration", []string{"serve", "--homeserver", "http://a", "--bridge-http", ":8721"}, "--registration is missing"},
		{"bridge in serve without an address", []string{"serve", "--homeserver", "http://a", "--bridge-http", "8721"}, "--bridge-http must be"},
		{"bridge without homeserver", []string{"bridge", "--nats", "a"}, "--homeserver is missing"},
		{"bridge without an address", []string{"bridge", "--nats", "a", "--homeserver", "http://a", "--registration", tokens, "--bridge-http", "8721"}, "--bridge-http must be"},
		{"bridge that accepts no event", []string{"bridge", "--nats", "a", "--homeserver", "http://a", "--registration", tokens, "--bridge-late", "0s"}, "--bridge-late"},
		{"backfill without registration", []string{"bridge", "backfill", "--homeserver", "http://a"}, "--registration is missing"},
		{"registration without a server name", []string{"bridge", "registration"}, "server name must be"},
		{"registration of a user", []string{"bridge", "registration", "--server-name", "@a:b c"}, "server name must be"},
		{"registration without a URL", []string{"bridge", "registration", "--server-name", "a", "--url", "a:8721"}, "URL must be"},
		{"import from an unknown homeserver", []string{"import", "--database", "a", "--from", "conduit", "-"}, "--from must be"},
		{"import without a file", []string{"import", "--database", "a", "--from", "synapse"}, "file"},
		{"short token cache", []string{"serve", "--homeserver", "http://a", "--token-cache", "1ms"}, "--token-cache"},
		{"short recheck", []string{"serve", "--homeserver", "http://a", "--recheck", "1s"}, "--recheck"},
		{"pokes that outlive the log", []string{"dispatcher", "--nats", "a", "--poke-ttl", "61h"}, "--poke-ttl must be at most 60h"},
		{"pokes that outlive the log in serve", []string{"serve", "--tokens", tokens, "--poke-ttl", "200h"}, "--poke-ttl must be at most"},
		{"a time to live that is none", []string{"dispatcher", "--nats", "a", "--event-ttl", "m.room.member=soon"}, "--event-ttl: "},
		{"a payload limit that is none", []string{"dispatcher", "--nats", "a", "--payload-limit", "ntfy.sh"}, "--payload-limit: "},
		{"pokes that expire while they wait", []string{"dispatcher", "--nats", "a", "--poke-ttl", "1m", "--delay-if-active", "1m"}, "--delay-if-active must be shorter"},
		{"unknown NATS scheme", []string{"publish", "--nats", "http://a"}, "scheme"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := poked(t, "", tt.args...)
			if got.Code != ExitUsage {
				t.Errorf("exit code %d, want %d", got.Code, ExitUsage)
			}
			if strings.Count(got.Stderr, "\n") != 1 || !strings.Contains(got.Stderr, tt.want) {
				t.Errorf("standard error %q, want one line with %q", got.Stderr, tt.want)
			}
			if got.Stdout != "" {
				t.Errorf("standard output %q, want nothing", got.Stdout)
			}
		})
	}
}

func TestErrorsHideNATSPassword(t *testing.T) {
	t.Setenv("POKED_NATS", "nats://user:hunter2@ho st")
	got := poked(t, "", "dispatcher")
	if got.Code != ExitUsage || strings.Contains(got.Stderr, "hunter2") {
		t.Errorf("exit code %d, standard error %q", got.Code, got.Stderr)
	}
	if got := node.RedactNATS("nats://user:hunter2@a:1,tls://token@b,c:3"); got != "nats://a:1,tls://b,nats://c:3" {
		t.Errorf("redacted to %s", got)
	}
}

func TestEnvironmentSetsFlags(t *testing.T) {
	t.Setenv("POKED_NATS", "nats://somewhere:4222")
	t.Setenv("POKED_PARTITIONS", "0")
	if got := poked(t, "", "dispatcher"); !strings.Contains(got.Stderr, "--partitions") {
		t.Errorf("standard error %q, want an error about --partitions", got.Stderr)
	}
}

// Every flag has an environment variable, and the help of its subcommand names both.
func TestHelpIsComplete(t *testing.T) {
	parser, err := Poked().Parser()
	if err != nil {
		t.Fatal(err)
	}
	clitest.CheckHelp(t, parser, Poked().Run)
}

// A subcommand is parsed without the others: what it says is the same as with all of them.
func TestSubcommandsAreParsedAlone(t *testing.T) {
	program := Poked()
	var out bytes.Buffer
	all := parserOf(t, program, &out)
	said := func(parser *kong.Kong, command string) string {
		out.Reset()
		_, _ = parser.Parse([]string{command, "--help"}) // it prints, and does not end the process
		_, err := parser.Parse([]string{command, "--no-such-flag"})
		return fmt.Sprintf("%s%v", &out, err)
	}
	for _, command := range all.Model.Children {
		alone := parserOf(t, program.narrow([]string{command.Name}), &out)
		if n := len(alone.Model.Children); n != 1 {
			t.Errorf("%s is parsed with %d subcommands", command.Name, n)
		}
		if got, want := said(alone, command.Name), said(all, command.Name); got != want {
			t.Errorf("%s alone says\n%s\nwith all\n%s", command.Name, got, want)
		}
	}
	for _, args := range [][]string{nil, {"--help"}, {"sever"}, {"serve", "--man"}} {
		if n := len(parserOf(t, program.narrow(args), &out).Model.Children); n != len(all.Model.Children) {
			t.Errorf("%q is parsed with %d subcommands", args, n)
		}
	}
}

func parserOf(t *testing.T, p Program, out io.Writer) *kong.Kong {
	t.Helper()
	parser, err := p.Parser(kong.Writers(out, out), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

func TestHelpNamesEverySubcommand(t *testing.T) {
	help := poked(t, "", "--help")
	for _, command := range []string{"serve", "registry", "dispatcher", "bridge", "import", "publish", "dead", "pushers", "gateways", "pushrule", "demo", "gateway", "version"} {
		if !strings.Contains(help.Stdout, "\n  "+command+" ") {
			t.Errorf("poked --help does not list %s:\n%s", command, help.Stdout)
		}
	}
}

// The help shows each subcommand in a group with a title.
func TestHelpGroupsSubcommands(t *testing.T) {
	parser, err := Poked().Parser()
	if err != nil {
		t.Fatal(err)
	}
	titles := map[string]bool{}
	for _, group := range groups() {
		titles[group.Title] = true
	}
	for _, command := range parser.Model.Leaves(true) {
		if group := command.ClosestGroup(); group == nil || !titles[group.Title] {
			t.Errorf("%s is in no group", command.Path())
		}
	}
}
