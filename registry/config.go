package registry

import (
	"errors"
	"fmt"
	"net"
	"time"

	"poked/events/homeserver"
)

// Defaults of [Config]; its tags repeat them for the command line.
const (
	defaultHTTP       = "127.0.0.1:8720"
	defaultMaxPushers = 50
	defaultRate       = 5
	defaultBurst      = 100
	defaultTokenCache = time.Minute
	defaultRecheck    = time.Hour
)

// Limits of durations.
const (
	minTokenCache = time.Second
	maxTokenCache = 10 * time.Minute
	minRecheck    = time.Minute
)

// maxMaxPushers keeps the pushers of one user within one NATS message of 1 MiB,
// nats-server's default limit: the largest pusher that parseSet admits takes
// 13 KiB there.
const maxMaxPushers = 75

// Config is what an operator says of a registry. The limits of push rules are no
// part of it: they are far above what people have, and follow from the size of a
// NATS message (see maxRulesBytes). The zero value of a field with
// a default means the default.
type Config struct {
	// HTTP is the address to listen on, host:port; port 0 chooses one.
	HTTP string `name:"http" placeholder:"ADDR" default:"127.0.0.1:8720" env:"POKED_HTTP" help:"Address of the HTTP API for clients."`
	// Database is the path of the SQLite file, which is created if missing, with
	// mode 0600. Its -wal, -shm and .lock files stand beside it.
	Database string `name:"database" placeholder:"FILE" type:"path" env:"POKED_DATABASE" help:"SQLite database of the registry, created if missing."`
	// Tokens is the path of the token file, see [TokenFile].
	Tokens string `name:"tokens" placeholder:"FILE" type:"path" env:"POKED_TOKENS" help:"Access tokens: 'token user_id [device_id]' a line, each ended by a newline; reread once it has changed and stood still for a second. Without a homeserver that knows them."`
	// StartEmpty has a registry with an empty database start although NATS knows
	// users, who are then forgotten.
	StartEmpty bool `name:"start-empty" env:"POKED_START_EMPTY" help:"Start with an empty database although NATS knows pushers or push rules: they are forgotten. Without it that is an error, for the database may be lost and 'poked registry restore' can bring it back."`
	// Homeserver says who is asking and keeps push rules, in place of Tokens. With a
	// registration it is also asked now and then which devices are still there.
	Homeserver homeserver.Config `embed:"" group:"Homeserver:"`
	// TokenCache is for how long the homeserver's word on a token is believed, 1 s to
	// 10 min. That a token is unknown is believed for 5 s at most.
	TokenCache time.Duration `name:"token-cache" placeholder:"DURATION" default:"1m" env:"POKED_TOKEN_CACHE" help:"How long the homeserver's word on an access token is believed, at most 10m."`
	// Recheck is how soon the homeserver has been asked for every device that has
	// pushers, at least a minute.
	Recheck time.Duration `name:"recheck" placeholder:"DURATION" default:"1h" env:"POKED_RECHECK" help:"With --registration: how soon the homeserver has been asked whether the device of each pusher is still there, two a second at most."`
	// MaxPushers is how many pushers one user may have, 1 to 75.
	MaxPushers int `name:"max-pushers" placeholder:"N" default:"50" env:"POKED_MAX_PUSHERS" help:"Pushers that one user may have, at most 75."`
	// Rate is how many requests a second one user may make in the long run.
	Rate float64 `name:"user-rate" placeholder:"N" default:"5" env:"POKED_USER_RATE" help:"Requests a second that one user may make in the long run."`
	// Burst is how many requests one user may make at once.
	Burst int `name:"user-burst" placeholder:"N" default:"100" env:"POKED_USER_BURST" help:"Requests that one user may make at once."`
}

func (c Config) withDefaults() Config {
	if c.HTTP == "" {
		c.HTTP = defaultHTTP
	}
	if c.MaxPushers == 0 {
		c.MaxPushers = defaultMaxPushers
	}
	if c.Rate == 0 {
		c.Rate = defaultRate
	}
	if c.Burst == 0 {
		c.Burst = defaultBurst
	}
	if c.TokenCache == 0 {
		c.TokenCache = defaultTokenCache
	}
	if c.Recheck == 0 {
		c.Recheck = defaultRecheck
	}
	return c
}

// check refuses a configuration without what has no default.
func (c Config) check() error {
	switch {
	case c.Database == "":
		return errors.New("the registry needs a database: set --database FILE")
	case c.Tokens == "" && c.Homeserver.URL == "":
		return errors.New("the registry needs to know who may ask: set --tokens FILE, one 'token user_id [device_id]' a line, or --homeserver URL")
	case c.Tokens != "" && c.Homeserver.URL != "":
		return errors.New("--tokens and --homeserver exclude each other")
	}
	return c.Validate()
}

// Validate refuses values that cannot work, in the words of the command line.
func (c Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.HTTP); err != nil {
		return fmt.Errorf("--http is no address of the form host:port: %w", err)
	}
	switch {
	case c.MaxPushers < 1 || c.MaxPushers > maxMaxPushers:
		return fmt.Errorf("--max-pushers is %d, must be 1 to %d", c.MaxPushers, maxMaxPushers)
	case !(c.Rate > 0):
		return fmt.Errorf("--user-rate is %g, must be above 0", c.Rate)
	case c.TokenCache < minTokenCache || c.TokenCache > maxTokenCache:
		return fmt.Errorf("--token-cache is %s, must be %s to %s", c.TokenCache, minTokenCache, maxTokenCache)
	case c.Recheck < minRecheck:
		return fmt.Errorf("--recheck is %s, must be at least %s", c.Recheck, minRecheck)
	case c.Burst < 1:
		return fmt.Errorf("--user-burst is %d, must be at least 1", c.Burst)
	}
	return nil
}
