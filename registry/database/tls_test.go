package database

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poked/registry/database/pgserver"
)

// selfSigned returns a certificate for 127.0.0.1 that is its own authority, and its key, as PEM.
func selfSigned(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "db"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyRaw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyRaw})
}

// place makes the server write a file, which then belongs to its own user.
func place(t *testing.T, s *pgserver.Server, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(s.Dir(), name)
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	sqlOn(t, s, "postgres", "COPY (SELECT unnest(ARRAY['"+strings.Join(lines, "','")+"'])) TO '"+path+"'")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// With sslmode=verify-full the database is opened only if its certificate is trusted and is for
// its address; a server without TLS is refused as well.
func encrypted(t *testing.T, s *pgserver.Server) {
	sqlOn(t, s, "postgres", "ALTER USER poked PASSWORD 'secret'")
	cert, key := selfSigned(t)
	other, _ := selfSigned(t)
	trusted, stranger := filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "other.pem")
	for path, content := range map[string][]byte{trusted: cert, stranger: other} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := func(host, mode, root string) string {
		query := url.Values{"sslmode": {mode}}
		if root != "" {
			query.Set("sslrootcert", root)
		}
		_, port, err := net.SplitHostPort(s.Host())
		if err != nil {
			t.Fatal(err)
		}
		return "postgres://poked:secret@" + net.JoinHostPort(host, port) + "/poked?" + query.Encode()
	}
	if _, err := Open(t.Context(), address("127.0.0.1", "verify-full", trusted), Options{}); err == nil || errors.Is(err, ErrAway) || !strings.Contains(err.Error(), "refused TLS") {
		t.Errorf("a server without TLS: %v", err)
	}
	certFile, keyFile := place(t, s, "server.crt", cert), place(t, s, "server.key", key)
	for _, setting := range []string{"ssl_cert_file = '" + certFile + "'", "ssl_key_file = '" + keyFile + "'", "ssl = on"} {
		sqlOn(t, s, "postgres", "ALTER SYSTEM SET "+setting)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"verify-full", "verify-ca"} {
		d, err := Open(t.Context(), address("127.0.0.1", mode, trusted), Options{})
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		var is bool
		if err := d.Get(t.Context(), &is, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); err != nil || !is {
			t.Errorf("%s: encrypted %v (%v)", mode, is, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, tt := range map[string]struct{ address, want string }{
		"another authority":    {address("127.0.0.1", "verify-full", stranger), "certificate"},
		"another name":         {address("localhost", "verify-full", trusted), "certificate"},
		"authorities of hosts": {address("127.0.0.1", "verify-full", ""), "certificate"},
		"no such file":         {address("127.0.0.1", "verify-full", filepath.Join(t.TempDir(), "none.pem")), "none.pem"},
	} {
		d, err := Open(t.Context(), tt.address, Options{})
		if err == nil {
			t.Errorf("%s: opened", name)
			_ = d.Close()
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrAway) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
