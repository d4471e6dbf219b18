package cli

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"poked/events/eventstest"
)

// TestSlowClientAtStop stops a serve, in a process of its own, while a client and a
// homeserver have sent half of a body each. The stop waits for them for a bounded time,
// cuts off what is left and is clean: a supervisor sees exit code 0.
func TestSlowClientAtStop(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	hs := homeserverOf(t)
	c, where := startChild(t, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--http", "127.0.0.1:0",
		"--homeserver", hs.URL, "--registration", writeRegistration(t), "--bridge-http", "127.0.0.1:0", "--partitions", "2")
	sendHalf(t, where["http"], "POST /_matrix/client/v3/pushers/set", "alice-token")
	sendHalf(t, where["bridge_http"], "PUT /_matrix/app/v1/transactions/1", eventstest.HSToken)
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("it ended with %v:\n%s", err, c.log())
	}
	if !strings.Contains(c.log(), "http requests were cut off at the stop") {
		t.Errorf("no request was cut off, so the test shows nothing:\n%s", c.log())
	}
}

// sendHalf sends a request and half of its body, and returns once the server reads the
// body. The connection stays open until the test ends.
func sendHalf(t *testing.T, address any, request, token string) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", fmt.Sprint(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	header := request + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
	if _, err := conn.Write([]byte(header)); err != nil {
		t.Fatal(err)
	}
	status, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(status, " 100 ") {
		t.Fatalf("%s is answered with %q (%v), want 100 Continue", request, status, err)
	}
	if _, err := conn.Write([]byte(`{"events":[`)); err != nil {
		t.Fatal(err)
	}
}
