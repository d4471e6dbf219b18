package cli

import (
	"net/url"
	"regexp"
	"slices"
	"testing"
)

// taken holds the usual ports of software beside poked: Synapse and its workers, other
// homeservers, NATS, push gateways, Prometheus.
var taken = []string{
	"8008", "8448", "8009", "8034", "8043", "8080", "8081", "8083", "8085", "9000", "9092", "9093", "9101", "18008", "18009", "6167",
	"4222", "6222", "8222", "5000", "2586", "9090", "9100", "5432", "6379",
}

// All default ports are different, and free beside a homeserver on the same machine.
func TestDefaultPortsCollideWithNothing(t *testing.T) {
	parser, err := Poked().Parser()
	if err != nil {
		t.Fatal(err)
	}
	port := regexp.MustCompile(`^127\.0\.0\.1:(\d+)$`)
	of := map[string]string{} // flags by port
	for _, command := range parser.Model.Leaves(false) {
		for _, flag := range command.Flags {
			found := port.FindStringSubmatch(flag.Default)
			if found == nil {
				if to, err := url.Parse(flag.Default); err == nil && to.Scheme == "http" && slices.Contains(taken, to.Port()) {
					t.Errorf("%s --%s is %s by default, which is taken", command.Path(), flag.Name, flag.Default)
				}
				continue
			}
			if slices.Contains(taken, found[1]) {
				t.Errorf("%s --%s is %s by default, which is taken", command.Path(), flag.Name, flag.Default)
			}
			if other := of[found[1]]; other != "" && other != flag.Name {
				t.Errorf("--%s and --%s both have port %s", other, flag.Name, found[1])
			}
			of[found[1]] = flag.Name
		}
	}
	if len(of) != 3 {
		t.Errorf("ports by default: %v, want those of the registry, the bridge and the gateway", of)
	}
}
