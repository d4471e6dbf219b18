package node

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"poked/events/pushgateway"
	"poked/events/stream"
)

// RoleFlags are the flags of every subcommand that runs a role.
type RoleFlags struct {
	Topology TopologyFlags `embed:"" group:"NATS:"`
	Gateway  GatewayFlags  `embed:"" group:"Push gateways:"`
	Ops      OpsFlags      `embed:"" group:"Operations:"`
	Log      LogFlags      `embed:"" group:"Log:"`
}

// TopologyFlags configure the streams.
type TopologyFlags struct {
	Partitions int `default:"16" env:"POKED_PARTITIONS" placeholder:"N" help:"Number of partitions, at most ${max_partitions}, which limits how many dispatchers can share the work. Fixed once the streams exist."`
	Streams    int `default:"0" env:"POKED_STREAMS" placeholder:"N" help:"Number of streams that share the partitions of ROOMS and NOTIFICATIONS, at most ${max_streams}: each has a leader and a disk queue of its own. More than 1 needs a subject mapping (nats.conf). Fixed once the streams exist. 0 means as many as exist, or 1."`
	Replicas   int `default:"1" env:"POKED_REPLICAS" placeholder:"N" help:"Number of NATS servers that store each message: 1, 3 or 5."`

	TraceFor   time.Duration `default:"24h" env:"POKED_TRACE_FOR" help:"How long NATS keeps what became of each poke, for poked trace. 0 is off."`
	TraceBytes int64         `default:"268435456" env:"POKED_TRACE_BYTES" help:"How many bytes of that NATS keeps at most: about 20 a poke."`
	Keep       time.Duration `default:"72h" env:"POKED_KEEP" help:"How long NATS keeps room events and notifications, 24h to 168h. Notifications older than that are no longer unread; what was read stays in NATS as long, except for redacted events."`
}

// Validate is called by kong.
func (f TopologyFlags) Validate() error {
	if f.Partitions < 1 || f.Partitions > stream.MaxPartitions {
		return fmt.Errorf("--partitions must be 1 to %d", stream.MaxPartitions)
	}
	if most := min(stream.MaxStreams, f.Partitions); f.Streams < 0 || f.Streams > most {
		return fmt.Errorf("--streams must be 1 to %d, or 0 for as many as exist", most)
	}
	if f.Keep < stream.ShortestKeep || f.Keep > stream.LongestKeep {
		return fmt.Errorf("--keep must be %v to %v", stream.ShortestKeep, stream.LongestKeep)
	}
	switch f.Replicas {
	case 1, 3, 5:
	default:
		return errors.New("--replicas must be 1, 3 or 5")
	}
	if f.TraceFor < 0 || f.TraceFor > 0 && (f.TraceFor < time.Minute || f.TraceBytes < 1<<20) {
		return errors.New("--trace-for must be 0 or at least 1m, with --trace-bytes of at least 1048576")
	}
	return nil
}

func (f TopologyFlags) topology() stream.Topology {
	return stream.Topology{Partitions: f.Partitions, Replicas: f.Replicas, Streams: f.Streams, Keep: f.Keep, TraceFor: f.TraceFor, TraceBytes: f.TraceBytes}
}

// GatewayFlags configure which push gateways may be poked.
type GatewayFlags struct {
	Allow     []string `name:"gateway-allow" env:"POKED_GATEWAY_ALLOW" placeholder:"CIDR|HOST" help:"Allow push gateways on these networks and hosts, on any port, including private addresses and single-label names. By default only the public internet is allowed."`
	Deny      []string `name:"gateway-deny" env:"POKED_GATEWAY_DENY" placeholder:"CIDR|HOST" help:"Never connect to these networks and hosts. Overrides --gateway-allow."`
	AllowHTTP bool     `name:"gateway-allow-http" env:"POKED_GATEWAY_ALLOW_HTTP" help:"Allow plain HTTP to the networks and hosts of --gateway-allow."`
}

// Validate is called by kong.
func (f GatewayFlags) Validate() error {
	if f.AllowHTTP && len(f.Allow) == 0 {
		return errors.New("--gateway-allow-http needs --gateway-allow: it allows plain HTTP only there")
	}
	_, err := f.Policy()
	return err
}

// Policy returns the policy that the flags configure.
func (f GatewayFlags) Policy() (*pushgateway.Policy, error) {
	return pushgateway.NewPolicy(f.Allow, f.Deny, f.AllowHTTP)
}

// RouteFlags configure how push gateways are reached.
type RouteFlags struct {
	Proxy  string `name:"gateway-proxy" env:"POKED_GATEWAY_PROXY" placeholder:"URL" help:"Connect to push gateways through this proxy: http:// (CONNECT) or socks5://, with user and password if it asks for them. poked looks up names itself and checks addresses as without a proxy."`
	Source string `name:"gateway-source" env:"POKED_GATEWAY_SOURCE" placeholder:"ADDR" help:"Connect to push gateways, or to the proxy, from this address of the machine."`
}

// Validate is called by kong.
func (f RouteFlags) Validate() error {
	_, err := f.route()
	return err
}

func (f RouteFlags) route() (pushgateway.Route, error) {
	route, err := pushgateway.ParseRoute(f.Proxy, f.Source)
	if err != nil {
		return route, fmt.Errorf("--gateway-proxy, --gateway-source: %w", err)
	}
	return route, nil
}

// DispatcherFlags are the flags of a process with a dispatcher, beside those of the
// dispatcher itself.
type DispatcherFlags struct {
	Route  RouteFlags  `embed:"" group:"Push gateways:"`
	Notify NotifyFlags `embed:"" group:"Operations:"`
}

// LogFlags configure the log.
type LogFlags struct {
	Format string     `name:"log-format" default:"text" enum:"text,json" env:"POKED_LOG_FORMAT" placeholder:"text|json" help:"Format of log lines on standard error: text or json."`
	Level  slog.Level `name:"log-level" default:"info" env:"POKED_LOG_LEVEL" placeholder:"LEVEL" help:"Minimum level to log: debug, info, warn or error."`
}

// Logger returns a logger that writes to w.
func (f LogFlags) Logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: f.Level}
	if f.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// CheckNATS validates a comma-separated list of NATS URLs. The error does not repeat them,
// because they may contain a password.
func CheckNATS(urls string) error {
	if urls == "" {
		return errors.New("--nats is missing: the URL of NATS, such as nats://host:4222")
	}
	for server := range strings.SplitSeq(urls, ",") {
		u, err := parseNATS(server)
		if err != nil || u.Hostname() == "" {
			return errors.New("--nats must be URLs such as nats://host:4222, separated by commas")
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return errors.New("--nats must have the scheme nats, tls, ws or wss")
		}
	}
	return nil
}

// RedactNATS returns the URLs without user names, passwords and tokens.
func RedactNATS(urls string) string {
	var redacted []string
	for server := range strings.SplitSeq(urls, ",") {
		if u, err := parseNATS(server); err == nil {
			redacted = append(redacted, u.Scheme+"://"+u.Host)
		}
	}
	return strings.Join(redacted, ",")
}

func parseNATS(server string) (*url.URL, error) {
	server = strings.TrimSpace(server)
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("parse nats url: %w", err)
	}
	return u, nil
}

// SplitAddr splits an address to listen on into host and port.
func SplitAddr(addr string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("parse address to listen on: %w", err)
	}
	number, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("parse port to listen on: %w", err)
	}
	return host, int(number), nil
}
