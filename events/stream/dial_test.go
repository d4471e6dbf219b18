package stream_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/stream"
)

// startListening starts a server that listens on loopback and returns its URL.
func startListening(t *testing.T, options *server.Options) string {
	t.Helper()
	natstest.EmptyPools()
	options.Host, options.Port, options.NoLog, options.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	ns, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not become ready")
	}
	return ns.ClientURL()
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign("authority", nil, nil)
	a.file = a.write("ca.pem", "CERTIFICATE", a.cert.Raw)
	return a
}

// sign creates a certificate, or without a parent the authority's own.
func (a *authority) sign(name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if parent == nil {
		parent, by = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) write(name, kind string, raw []byte) string {
	a.t.Helper()
	return writeFile(a.t, name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})))
}

// issue returns the files of a new certificate and its key.
func (a *authority) issue(name string) (cert, key string) {
	a.t.Helper()
	signed, secret := a.sign(name, a.cert, a.key)
	raw, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write(name+".pem", "CERTIFICATE", signed.Raw), a.write(name+".key", "PRIVATE KEY", raw)
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantConnect connects. With a word, it checks that this fails at once with an error
// that contains the word.
func wantConnect(t *testing.T, url string, credentials stream.Credentials, word string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := stream.Connect(ctx, stream.Config{URL: url, Credentials: credentials, Log: slog.New(slog.DiscardHandler)})
	switch {
	case err == nil:
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if word != "" {
			t.Errorf("connected, want an error with %q", word)
		}
	case word == "" || !strings.Contains(err.Error(), word):
		t.Errorf("%v, want %q", err, word)
	case ctx.Err() != nil:
		t.Errorf("retried until the timeout: %v", err)
	}
}

func TestTLS(t *testing.T) {
	eventstest.Long(t)
	ours, theirs := newAuthority(t), newAuthority(t)
	cert, key := ours.issue("localhost")
	config, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: cert, KeyFile: key, CaFile: ours.file, Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	config.MinVersion = tls.VersionTLS12
	url := startListening(t, &server.Options{TLS: true, TLSVerify: true, TLSConfig: config, TLSTimeout: 5})
	client, clientKey := ours.issue("client")
	stranger, strangerKey := theirs.issue("client")
	for name, c := range map[string]struct {
		credentials stream.Credentials
		word        string
	}{
		"all is well":           {stream.Credentials{TLSCA: ours.file, TLSCert: client, TLSKey: clientKey}, ""},
		"no authority":          {stream.Credentials{TLSCert: client, TLSKey: clientKey}, "certificate"},
		"another authority":     {stream.Credentials{TLSCA: theirs.file, TLSCert: client, TLSKey: clientKey}, "certificate"},
		"no certificate":        {stream.Credentials{TLSCA: ours.file}, "tls: "},
		"another's certificate": {stream.Credentials{TLSCA: ours.file, TLSCert: stranger, TLSKey: strangerKey}, "tls: "},
		"no file":               {stream.Credentials{TLSCA: "none.pem"}, "none.pem"},
		"no certificate in it":  {stream.Credentials{TLSCA: clientKey}, "certificate"},
		"no key":                {stream.Credentials{TLSCA: ours.file, TLSCert: client, TLSKey: "none.key"}, "none.key"},
	} {
		t.Run(name, func(t *testing.T) { wantConnect(t, url, c.credentials, c.word) })
	}
}

func newKey(t *testing.T, generate func() (nkeys.KeyPair, error)) (pair nkeys.KeyPair, public, seed string) {
	t.Helper()
	pair, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	public, err = pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return pair, public, string(raw)
}

func TestNkey(t *testing.T) {
	_, public, seed := newKey(t, nkeys.CreateUser)
	_, _, another := newKey(t, nkeys.CreateUser)
	_, _, account := newKey(t, nkeys.CreateAccount)
	url := startListening(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}})
	for name, c := range map[string]struct{ file, word string }{
		"all is well":  {writeFile(t, "seed", seed+"\n"), ""},
		"another's":    {writeFile(t, "seed", another), "Authorization Violation"},
		"no user's":    {writeFile(t, "seed", account), "neither"},
		"none of ours": {writeFile(t, "seed", "hello"), "neither"},
		"no file":      {"none.creds", "none.creds"},
		"none":         {"", "Authorization Violation"},
	} {
		t.Run(name, func(t *testing.T) { wantConnect(t, url, stream.Credentials{Creds: c.file}, c.word) })
	}
}

// TestPasswordThatIsWrongForAWhile makes a server refuse a client that it accepted
// before, repeatedly, and then accept it again.
func TestPasswordThatIsWrongForAWhile(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	natstest.EmptyPools()
	options := func(password string) *server.Options {
		return &server.Options{
			Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, Username: "poked", Password: password,
		}
	}
	start := func(o *server.Options) *server.Server {
		ns, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		ns.Start()
		if !ns.ReadyForConnections(30 * time.Second) {
			t.Fatal("the server does not become ready")
		}
		return ns
	}
	first := start(options("right"))
	log := &eventstest.LogBuffer{}
	conn, err := stream.Connect(t.Context(), stream.Config{
		URL: "nats://poked:right@" + first.Addr().String(), Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	port := first.Addr().(*net.TCPAddr).Port
	again := func(ns *server.Server, password string) *server.Server {
		ns.Shutdown()
		ns.WaitForShutdown()
		o := options(password)
		o.Port = port
		return start(o)
	}
	wrong := again(first, "wrong")
	eventstest.WaitFor(t, "three refusals", func() bool { return strings.Count(log.String(), "authorization violation") >= 3 })
	right := again(wrong, "right")
	eventstest.WaitFor(t, "the connection to be back", conn.Connected)
	right.Shutdown()
	right.WaitForShutdown()
}

// TestCreds uses credentials as nsc writes them: a user's JWT, signed by an account
// that an operator has signed.
func TestCreds(t *testing.T) {
	operator, operatorKey, _ := newKey(t, nkeys.CreateOperator)
	account, accountKey, _ := newKey(t, nkeys.CreateAccount)
	_, userKey, seed := newKey(t, nkeys.CreateUser)
	accountJWT, err := jwt.NewAccountClaims(accountKey).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	userJWT, err := jwt.NewUserClaims(userKey).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(userJWT, []byte(seed))
	if err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(accountKey, accountJWT); err != nil {
		t.Fatal(err)
	}
	url := startListening(t, &server.Options{TrustedKeys: []string{operatorKey}, AccountResolver: resolver})
	wantConnect(t, url, stream.Credentials{Creds: writeFile(t, "poked.creds", string(creds))}, "")
	wantConnect(t, url, stream.Credentials{Creds: writeFile(t, "seed", seed)}, "Authorization Violation")
}

// A connection needs no logger, although it logs each outage.
func TestConnectWithoutLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn, err := stream.Connect(t.Context(), stream.Config{InProcess: server})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		server.Stop()
		server.Start()
		eventstest.WaitFor(t, "the connection", conn.Connected)
	})
}
