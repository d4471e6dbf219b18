package child

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports for servers that restart at the same address. They are outside the system's range
// of ephemeral ports, so that it cannot assign them while a server is down.
const firstPort, lastPort = 20000, 32000

// FreePorts returns ports that are free now.
func FreePorts(n int) ([]int, error) {
	var ports []int
	var listeners []net.Listener // kept open until all ports are found
	defer func() {
		for _, listener := range listeners {
			_ = listener.Close() // it had no connection
		}
	}()
	for try := 0; len(ports) < n; try++ {
		port := firstPort + rand.IntN(lastPort-firstPort) //nolint:gosec // luck needs no secrecy
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort(Host, strconv.Itoa(port)))
		if err != nil && try > 100*n {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		if err == nil {
			ports, listeners = append(ports, port), append(listeners, listener)
		}
	}
	return ports, nil
}
