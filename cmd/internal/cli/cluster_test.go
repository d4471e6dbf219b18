package cli

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"poked/events"
	"poked/events/eventstest"
)

// startCluster starts three servers from a nats.conf, as docker-compose.yml does.
func startCluster(t *testing.T, conf string) (servers []*server.Server) {
	t.Helper()
	var ports []int
	var routes []string
	for range 3 {
		ports = append(ports, freePort(t))
		routes = append(routes, routeURL("route:p-route", ports[len(ports)-1]))
	}
	for i, port := range ports {
		options := readNATSConfOf(t, conf, routes...)
		options.ServerName = fmt.Sprint("nats", i+1)
		options.Host, options.Port, options.HTTPPort = "127.0.0.1", server.RANDOM_PORT, 0
		options.Cluster.Host, options.Cluster.Port = "127.0.0.1", port
		options.StoreDir, options.NoSigs, options.NoLog = t.TempDir(), true, true
		for _, user := range options.Users { // no user may delete a stream, but this test must
			if user.Username == "operator" {
				user.Permissions.Publish.Allow = append(user.Permissions.Publish.Allow, "$JS.API.STREAM.DELETE.*")
			}
		}
		servers = append(servers, startServer(t, options))
	}
	return servers
}

// startServer starts a NATS server, which ends with the test.
func startServer(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	ns, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	ns.ConfigureLogger() // of a file, if the options name one
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(30 * time.Second) {
		t.Fatal("a server does not get ready")
	}
	return ns
}

// routeURL returns the route URL of a server, with these credentials.
func routeURL(credentials string, port int) string {
	return fmt.Sprintf("nats-route://%s@127.0.0.1:%d", credentials, port)
}

// urlsOf returns the URLs of the servers for a role.
func urlsOf(role string, servers ...*server.Server) string {
	var all []string
	for _, ns := range servers {
		all = append(all, "nats://"+role+":p-"+role+"@"+ns.Addr().String())
	}
	return strings.Join(all, ",")
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func deleteStreams(t *testing.T, url string, names ...string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, name := range names {
		answer, err := nc.Request("$JS.API.STREAM.DELETE."+name, nil, 10*time.Second)
		if err != nil || !strings.Contains(string(answer.Data), `"success":true`) {
			t.Fatalf("delete %s: %v", name, err)
		}
	}
}

// TestClusterOfThree asks for more replicas than three servers can store. Then a poke
// arrives, and again after an operator has deleted two streams and one server is gone. The
// registry starts while the cluster has no leader yet, and waits for one.
func TestClusterOfThree(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	useCluster(t, fromRoot("cmd", "poked", "deploy", "nats.conf"), "1", "ROOMS", "NOTIFICATIONS")
}

// TestClusterOfThreeInFourStreams is the same with --streams 4.
func TestClusterOfThreeInFourStreams(t *testing.T) {
	eventstest.Soak(t)
	t.Parallel()
	room := events.PartitionOf(events.Token("!room:example.org"), 4) + 1
	alice := events.PartitionOf(events.Token("@alice:example.org"), 4) + 1
	useCluster(t, confOfFour(t), "4", fmt.Sprint("ROOMS_", room), fmt.Sprint("NOTIFICATIONS_", alice))
}

// useCluster runs a registry and a dispatcher on three servers with a nats.conf. Two streams
// are deleted meanwhile.
func useCluster(t *testing.T, conf, streams, rooms, notifications string) {
	t.Helper()
	partitions := "2"
	if streams != "1" {
		partitions = streams
		text, err := os.ReadFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		conf = writeFile(t, "nats.conf", strings.ReplaceAll(string(text), "partition(16,", "partition("+partitions+","))
	}
	servers := startCluster(t, conf)
	gateway := startGateway(t)
	tokens := writeFile(t, "tokens", "alice-token @alice:example.org PHONE\n")
	args := func(replicas string) []string {
		return []string{
			"registry", "--nats", urlsOf("registry", servers...), "--http", "127.0.0.1:0", "--database", filepath.Join(t.TempDir(), "poked.db"),
			"--tokens", tokens, "--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", partitions, "--replicas", replicas, "--streams", streams,
		}
	}
	got := poked(t, "", args("5")...)
	if got.Code != ExitFailure || !strings.Contains(got.Stderr, "5 replicas (as many NATS servers with JetStream must be reachable in one cluster)") {
		t.Fatalf("five replicas: exit code %d, %s", got.Code, got.Stderr)
	}
	registry, where := start(t, args("3")...)
	dispatcher, _ := start(t, "dispatcher", "--nats", urlsOf("dispatcher", servers[:2]...), "--partitions", partitions, "--replicas", "3",
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http")
	setPusher(t, fmt.Sprintf("http://%s", where["http"]), gateway.url, "alice-pushkey")
	homeserver := urlsOf("homeserver", servers[:2]...)
	publishAll(t, homeserver, "--historical", memberEvent("alice"), memberEvent("bob"))
	checkPoke(t, firstPoke(t, homeserver, gateway.pokes))
	deleteStreams(t, urlsOf("operator", servers[0]), rooms, notifications)
	eventstest.WaitFor(t, "the registry to make them anew", func() bool {
		return strings.Count(registry.log(), "made anew, what it held is lost") == 2
	})
	servers[2].Shutdown()
	for len(gateway.pokes) > 0 {
		<-gateway.pokes
	}
	checkPoke(t, firstPoke(t, homeserver, gateway.pokes))
	dispatcher.terminate()
	registry.terminate()
}
