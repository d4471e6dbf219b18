package database

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"testing"

	"poked/registry/database/pgserver"
)

// lateCloses returns an address of the database under which the server sees only at the end of
// the test that a connection was closed.
func lateCloses(t *testing.T, s *pgserver.Server, database string) string {
	t.Helper()
	direct, err := url.Parse(s.SocketURL(database))
	if err != nil {
		t.Fatal(err)
	}
	query := direct.Query()
	socket := "/.s.PGSQL." + query.Get("port")
	server := query.Get("host") + socket
	dir, err := os.MkdirTemp("", "poked-pg-") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", dir+socket)
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed at the end of the test
			}
			conns.Go(func() { forward(t, client, server) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		conns.Wait()
		_ = os.RemoveAll(dir)
	})
	query.Set("host", dir)
	direct.RawQuery = query.Encode()
	return direct.String()
}

// forward connects a client to the server, and keeps the server's end open after the client has
// closed its own.
func forward(t *testing.T, client net.Conn, server string) {
	backend, err := net.Dial("unix", server)
	if err != nil {
		_ = client.Close()
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() { _, _ = io.Copy(client, backend) })
	terminate := []byte{'X', 0, 0, 0, 4} // with which a client takes its leave
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if sent := bytes.TrimSuffix(buffer[:n], terminate); len(sent) > 0 {
			_, _ = backend.Write(sent)
		}
		if err != nil {
			break
		}
	}
	_ = client.Close()
	<-t.Context().Done()
	_ = backend.Close()
	answers.Wait()
}
