package registry

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"poked/events/pushgateway"
)

// TestConfigTags checks that the command line has the defaults of the code.
func TestConfigTags(t *testing.T) {
	var cfg Config
	parser, err := kong.New(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(nil); err != nil {
		t.Fatal(err)
	}
	if cfg != (Config{}).withDefaults() {
		t.Errorf("tags say %+v, the code %+v", cfg, (Config{}).withDefaults())
	}
}

func TestOpenReportsWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	good := Config{HTTP: "127.0.0.1:0", Database: filepath.Join(dir, "poked.db"), Tokens: filepath.Join(dir, "tokens")}
	writeFile(t, good.Tokens, tokens)
	for _, c := range []struct {
		says   string
		change func(*Config)
	}{
		{"--database", func(c *Config) { c.Database = "" }},
		{"--tokens", func(c *Config) { c.Tokens = "" }},
		{"open token file", func(c *Config) { c.Tokens += "x" }},
		{"open database " + dir, func(c *Config) { c.Database = dir }},
		{"--http", func(c *Config) { c.HTTP = "nowhere" }},
		{"listen", func(c *Config) { c.HTTP = "192.0.2.1:0" }}, // an address that no host has
		{"--max-pushers", func(c *Config) { c.MaxPushers = maxMaxPushers + 1 }},
		{"--max-pushers", func(c *Config) { c.MaxPushers = -1 }},
		{"--user-rate", func(c *Config) { c.Rate = -1 }},
		{"--user-burst", func(c *Config) { c.Burst = -1 }},
		{"--offer-rules", func(c *Config) { c.OfferRules = "msc1" }},
	} {
		cfg := good
		c.change(&cfg)
		_, err := Open(t.Context(), cfg, new(pushgateway.Policy), nil, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want an error that says %q", err, c.says)
		}
	}
}
