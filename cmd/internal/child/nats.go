package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/tidwall/gjson"
)

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
	_, port, err := net.SplitHostPort(route)
	if err != nil {
		return nil, fmt.Errorf("read the address of a route: %w", err)
	}
	n.Args = append(n.Args, "--route-port", port, "--advertise", AddrOf(1)) // a port without a listener
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
