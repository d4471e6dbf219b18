package role

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/nats-io/nats-server/v2/server"

	"poked/cmd/internal/child"
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
		Host: child.Host, Port: c.Port, HTTPHost: child.Host, HTTPPort: c.Monitor,
	}
	if c.RoutePort != 0 {
		// Clients and routes must use only the links that they are configured with.
		settings.Cluster = server.ClusterOpts{Name: "poked", Host: child.Host, Port: c.RoutePort, Advertise: c.Advertise, NoAdvertise: true}
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
	ctx, stop := child.WithParent(ctx, std.In)
	defer stop()
	return nats.Watch(ctx)
}
