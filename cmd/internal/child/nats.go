package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/tidwall/gjson"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
)

// natsCmd is a NATS server in its own process, alone or in a cluster, configured as in
// docker-compose.yml.
type natsCmd struct {
	Name      string   `required:"" env:"POKED_NODE_NAME" help:"Name of the server."`
	Dir       string   `required:"" env:"POKED_NODE_DIR" help:"Directory of its files."`
	Port      int      `required:"" env:"POKED_NODE_PORT" help:"Port for clients."`
	Monitor   int      `required:"" env:"POKED_NODE_MONITOR" help:"Port for monitoring."`
	RoutePort int      `env:"POKED_NODE_ROUTE_PORT" help:"Port for the other servers of the cluster; without it there is no cluster."`
	Advertise string   `env:"POKED_NODE_ADVERTISE" help:"Route address that the server advertises to the others."`
	Routes    []string `env:"POKED_NODE_ROUTES" help:"URLs of the other servers."`
}

// Run runs the server until ctx or standard input ends.
func (c natsCmd) Run(ctx context.Context, std terminal.Streams) error {
	log := slog.New(slog.NewJSONHandler(std.Err, nil))
	settings := &server.Options{
		ServerName: c.Name, JetStream: true, StoreDir: c.Dir, SyncAlways: true, NoSigs: true,
		Host: Host, Port: c.Port, HTTPHost: Host, HTTPPort: c.Monitor,
	}
	if c.RoutePort != 0 {
		// Clients and routes must use only the links that they are configured with.
		settings.Cluster = server.ClusterOpts{Name: "poked", Host: Host, Port: c.RoutePort, Advertise: c.Advertise, NoAdvertise: true}
		for _, route := range c.Routes {
			u, err := url.Parse(route)
			if err != nil {
				return fmt.Errorf("read route: %w", err)
			}
			settings.Routes = append(settings.Routes, u)
		}
	}
	nats, err := node.RunNATS(settings, log)
	if err != nil {
		return err
	}
	defer nats.Stop()
	ctx, stop := WithParent(ctx, std.In)
	defer stop()
	return nats.Watch(ctx)
}

// NATSNode is a NATS server of a run.
type NATSNode struct {
	*Process

	Addr    string // for clients
	monitor string // URL
}

// NewNATSNode returns a server that is not started yet, with its files and its log below dir.
// route is the address at which it listens for the others, and routes are theirs; both are
// empty for a server without a cluster.
func NewNATSNode(dir, name, route string, routes []string) (*NATSNode, error) {
	ports, err := FreePorts(2)
	if err != nil {
		return nil, err
	}
	n := &NATSNode{
		Process: &Process{Name: name, Log: dir + "/" + name + ".log"},
		Addr:    AddrOf(ports[0]),
		monitor: "http://" + AddrOf(ports[1]),
	}
	n.Args = []string{
		"nats-node", "--name", name, "--dir", dir + "/" + name,
		"--port", strconv.Itoa(ports[0]), "--monitor", strconv.Itoa(ports[1]),
	}
	if route == "" {
		return n, nil
	}
	_, port, err := node.SplitAddr(route)
	if err != nil {
		return nil, err
	}
	n.Args = append(n.Args, "--route-port", strconv.Itoa(port), "--advertise", AddrOf(1)) // a port without a listener
	for _, r := range routes {
		n.Args = append(n.Args, "--routes", "nats-route://"+r)
	}
	return n, nil
}

// ask requests a path of the server's monitoring port.
func (n *NATSNode) ask(ctx context.Context, path string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.monitor+path, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("ask %s: %w", n.Name, err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("ask %s: %w", n.Name, err)
	}
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, errors.Join(err, resp.Body.Close())
}

// Healthy reports whether the server works and has caught up with the cluster.
func (n *NATSNode) Healthy(ctx context.Context) bool {
	status, _, err := n.ask(ctx, "/healthz")
	return err == nil && status == http.StatusOK
}

// Leader returns the name of the server that leads a stream, or "" if it is unknown.
func (n *NATSNode) Leader(ctx context.Context, stream string) string {
	_, body, err := n.ask(ctx, "/jsz?accounts=true&streams=true")
	if err != nil {
		return ""
	}
	return gjson.GetBytes(body, `account_details.#.stream_detail|@flatten|#(name="`+stream+`").cluster.leader`).Str
}
