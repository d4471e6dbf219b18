package registry

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"poked/events/homeserver"
	"poked/events/pushrule"
	"poked/events/webpush"
	"poked/registry/database"
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

// minConns is how many connections to PostgreSQL a registry needs, for requests, the
// outbox and notices.
const minConns = 4

// maxMaxPushers keeps the pushers of one user within one NATS message of 1 MiB,
// nats-server's default limit: the largest pusher that package request admits takes
// 13 KiB there.
const maxMaxPushers = 75

// Config is the operator's configuration of a registry. The zero value of a field with
// a default means the default. The limits of push rules cannot be configured: they
// follow from the size of a NATS message (see store.MaxRulesBytes) and are far above what
// people use.
type Config struct {
	// HTTP is the address to listen on, host:port; port 0 chooses one.
	HTTP string `name:"http" placeholder:"ADDR" default:"127.0.0.1:8720" env:"POKED_HTTP" help:"Address of the HTTP API for clients."`
	// Database is the path of a SQLite file, which is created if missing, with mode 0600, and
	// has its -wal, -shm and .lock files in the same directory; or the URL of a PostgreSQL
	// database, postgres://…, which several registries may share.
	Database string `name:"database" placeholder:"FILE|URL" type:"database" env:"POKED_DATABASE" help:"Database of the registry: a SQLite file, created if missing, or a PostgreSQL database (14 or newer) as postgres://USER@HOST/NAME?sslmode=verify-full. Any number of registries can share a PostgreSQL database. For a Unix socket use postgres:///NAME?host=/run/postgresql; name several hosts for a failover."`
	// DatabasePasswordFile is the path of a file whose first line is the password for
	// PostgreSQL. It is read for each new connection.
	DatabasePasswordFile string `name:"database-password-file" placeholder:"FILE" type:"path" env:"POKED_DATABASE_PASSWORD_FILE" help:"File with the password for PostgreSQL in its first line, in place of one in the URL, in PGPASSWORD or in the file PGPASSFILE. It is read for each new connection."`
	// DatabaseConns is how many connections to PostgreSQL may be open for requests. Up to 16
	// others hold locks.
	DatabaseConns int `name:"database-conns" placeholder:"N" default:"16" env:"POKED_DATABASE_CONNS" help:"Maximum number of connections to PostgreSQL for requests. Up to 16 more hold locks."`
	// Tokens is the path of the token file; see [auth.OpenTokenFile].
	Tokens string `name:"tokens" placeholder:"FILE" type:"path" env:"POKED_TOKENS" help:"File of access tokens, for use without --homeserver: one 'token user_id [device_id]' per line, each ended by a newline. It is reread within seconds of a change, and at once on SIGHUP."`
	// StartEmpty allows a start with an empty database although NATS holds pushers or
	// push rules, which are then deleted from NATS.
	StartEmpty bool `name:"start-empty" env:"POKED_START_EMPTY" help:"Start with an empty database although NATS holds pushers or push rules, and delete those. Without this flag it is an error, since the database may be lost; 'poked registry restore' rebuilds it."`
	// Homeserver authenticates clients and keeps push rules, in place of Tokens. With a
	// registration, the registry also checks periodically which devices still exist.
	Homeserver homeserver.Config `embed:"" group:"Homeserver:"`
	// TokenCache is how long the homeserver's answer about a token is cached, 1 s to
	// 10 min. The answer that a token is unknown is cached for at most 5 s.
	TokenCache time.Duration `name:"token-cache" placeholder:"DURATION" default:"1m" env:"POKED_TOKEN_CACHE" help:"How long the homeserver's answer about an access token is cached, at most 10m."`
	// Recheck is the time for one pass over all devices that have pushers, at least a
	// minute. A pass with many devices takes longer; see recheckGap. The first is quick.
	Recheck time.Duration `name:"recheck" placeholder:"DURATION" default:"1h" env:"POKED_RECHECK" help:"With --registration: how often to ask the homeserver for the push rules of each user with pushers, and whether the devices still exist, at most two devices per second. After a start it asks at once, 50 devices per second."`
	// MaxPushers is how many pushers one user may have, 1 to 75.
	MaxPushers int `name:"max-pushers" placeholder:"N" default:"50" env:"POKED_MAX_PUSHERS" help:"Maximum number of pushers per user, at most 75."`
	// WebPushSubject switches Web Push on, and tells push services how they can reach the
	// operator: mailto: with an address, or an https URL.
	WebPushSubject string `name:"webpush-subject" placeholder:"URL" env:"POKED_WEBPUSH_SUBJECT" help:"Let browsers be pushers, without a push gateway (Web Push, MSC4174). The value is how push services can reach you: mailto: with an address, or an https URL. Without this flag Web Push is off."`
	// OfferRules names the proposals for the specification whose predefined push rules users
	// have as well, separated by commas; see [pushrule.Offers]. It concerns users whose push rules
	// the registry keeps.
	OfferRules string `name:"offer-rules" placeholder:"MSC,..." env:"POKED_OFFER_RULES" help:"Give all users the predefined push rules of these proposals, under their unstable names: msc3930 (polls notify as messages do), msc4028 (every encrypted event notifies, unless a rule of the user mutes the room, so that clients can decrypt it and look for mentions: only for clients that know it), msc4306 (an event in a thread notifies those who are subscribed to it, and of the others only who is mentioned; subscriptions come from a proxy that sends them here, or from the homeserver, and who has none that poked knows of is not subscribed; without this no rule about them holds, also none that a homeserver keeps), msc4506 (a knock notifies those who may invite). Users can switch each rule off. Where a homeserver keeps the push rules, its rules decide. Give all registries the same list."`
	// DoNotDisturb makes the account data m.do_not_disturb count (MSC4359). All registries
	// must have the same.
	DoNotDisturb bool `name:"do-not-disturb" env:"POKED_DO_NOT_DISTURB" help:"Heed the account data m.do_not_disturb (MSC4359; unstable dm.filament.do_not_disturb): what happens in its rooms is unread and not poked, only the unread count is. With \"poked.highlights\": true in it highlights are poked all the same. The example proxies send it to poked; otherwise poked asks the homeserver for it, two requests more for each user (--recheck)."`
	// Rate is the long-term limit of requests per second for one user.
	Rate float64 `name:"user-rate" placeholder:"N" default:"5" env:"POKED_USER_RATE" help:"Rate limit per user: requests per second in the long run. Each of several registries counts for itself."`
	// Burst is how many requests one user may make at once, above Rate.
	Burst int `name:"user-burst" placeholder:"N" default:"100" env:"POKED_USER_BURST" help:"Rate limit per user: requests allowed at once."`
}

// options are those of the database.
func (c Config) options() database.Options {
	return database.Options{PasswordFile: c.DatabasePasswordFile, Conns: c.DatabaseConns}
}

// offers are the proposals whose rules users have.
func (c Config) offers() (pushrule.Offers, error) {
	if c.OfferRules == "" {
		return 0, nil
	}
	return pushrule.ParseOffers(strings.Split(c.OfferRules, ","))
}

func (c Config) withDefaults() Config {
	if c.HTTP == "" {
		c.HTTP = defaultHTTP
	}
	if c.DatabaseConns == 0 {
		c.DatabaseConns = database.DefaultConns
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

// check refuses a configuration that lacks a required value.
func (c Config) check() error {
	switch {
	case c.Database == "":
		return errors.New("the registry needs a database: set --database FILE, or the URL of a PostgreSQL database")
	case c.Tokens == "" && c.Homeserver.URL == "":
		return errors.New("the registry needs to authenticate clients: set --tokens FILE, one 'token user_id [device_id]' per line, or --homeserver URL")
	case c.Tokens != "" && c.Homeserver.URL != "":
		return errors.New("--tokens and --homeserver exclude each other")
	}
	return c.Validate()
}

// Validate refuses values that cannot work. Its errors name the flags.
func (c Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.HTTP); err != nil {
		return fmt.Errorf("--http must be an address of the form host:port: %w", err)
	}
	if c.WebPushSubject != "" {
		if err := webpush.CheckSubject(c.WebPushSubject); err != nil {
			return fmt.Errorf("--webpush-subject %w", err)
		}
	}
	if _, err := c.offers(); err != nil {
		return fmt.Errorf("--offer-rules: %w", err)
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
	case c.DatabaseConns < minConns:
		return fmt.Errorf("--database-conns is %d, must be at least %d", c.DatabaseConns, minConns)
	case c.Burst < 1:
		return fmt.Errorf("--user-burst is %d, must be at least 1", c.Burst)
	}
	return nil
}
