package stream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"poked/events/wait"
)

// Credentials are the files that say who a connection is and whom it trusts. Each
// is a path; empty means that there is none.
type Credentials struct {
	// Creds is a NATS credentials file (a JWT and the seed of its nkey, as nsc
	// writes it) or the seed of an nkey alone.
	Creds string
	// TLSCA holds the certificates, PEM, that a server's must be signed by, in the
	// place of the system's.
	TLSCA string
	// TLSCert and TLSKey are a certificate, PEM, that is shown to the server, and
	// its key.
	TLSCert, TLSKey string
}

// Check reads the files, and returns what is wrong with them.
func (c Credentials) Check() error {
	opts, err := c.options()
	if err != nil {
		return err
	}
	var read nats.Options
	for _, opt := range opts {
		if err := opt(&read); err != nil {
			return fmt.Errorf("read nats credentials: %w", err)
		}
	}
	return nil
}

// options reads the files.
func (c Credentials) options() ([]nats.Option, error) {
	var opts []nats.Option
	if c.TLSCA != "" {
		opts = append(opts, nats.RootCAs(c.TLSCA))
	}
	if c.TLSCert != "" {
		opts = append(opts, nats.ClientCert(c.TLSCert, c.TLSKey))
	}
	if c.Creds == "" {
		return opts, nil
	}
	// The client reads the file each time it connects, and would try for ever to
	// read one that is not there.
	content, err := os.ReadFile(c.Creds)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read nats credentials: %w", err)
	case bytes.Contains(content, []byte("BEGIN NATS USER JWT")):
		return append(opts, nats.UserCredentials(c.Creds)), nil
	}
	seed, err := nats.NkeyOptionFromSeed(c.Creds)
	if err != nil { // says nothing of what it read
		return nil, fmt.Errorf("read nats credentials: %s holds neither a user's JWT nor the seed of a user's nkey", c.Creds)
	}
	return append(opts, seed), nil
}

// dialPause is the pause between two tries to connect for the first time, beside
// as much again at random.
const dialPause = 250 * time.Millisecond

// dial connects, again and again for as long as ctx allows.
func (c *Conn) dial(ctx context.Context) (*nats.Conn, error) {
	opts, err := c.options()
	if err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	for waiting := false; ; waiting = true {
		nc, err := nats.Connect(c.cfg.URL, opts...)
		if err == nil {
			return nc, nil
		}
		if isRefusal(err) {
			return nil, fmt.Errorf("connect to nats: %w", err)
		}
		if !waiting {
			c.log.Info("nats is not there yet, waiting for it", "error", err)
		}
		if err := wait.For(ctx, dialPause+rand.N(dialPause)); err != nil { //nolint:gosec // jitter
			return nil, fmt.Errorf("connect to nats: %w", err)
		}
	}
}

// isRefusal says whether one side does not want to speak to the other, which
// waiting does not mend.
func isRefusal(err error) bool {
	var (
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError // what the server thinks of our certificate
		path        *fs.PathError  // a file of certificates
	)
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) ||
		errors.As(err, &certificate) || errors.As(err, &alert) || errors.As(err, &path) ||
		errors.Is(err, nats.ErrSecureConnRequired) || errors.Is(err, nats.ErrSecureConnWanted) ||
		strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "root certificate") // without a type
}

func (c *Conn) options() ([]nats.Option, error) {
	opts, err := c.cfg.Credentials.options()
	if err != nil {
		return nil, err
	}
	if c.cfg.InProcess != nil {
		opts = append(opts, nats.InProcessServer(c.cfg.InProcess))
	}
	return append(opts,
		nats.Name(c.cfg.Name),
		nats.MaxReconnects(-1),
		// A server that is set up wrongly for a while, and refuses who it took
		// before, must not end a connection for good.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(250*time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		// Nothing is written behind the caller's back: a publish while NATS is
		// away is an error now, not a surprise after the reconnect.
		nats.ReconnectBufSize(-1),
		// A connection whose other side takes nothing any more holds a lock of the
		// client's, for which everything waits that is sent: it is given up soon.
		nats.FlusherTimeout(RequestTimeout),
		nats.ReconnectOnFlusherError(),
		nats.PingInterval(20*c.pulse),
		nats.SyncQueueLen(answerQueue),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(c.disconnected),
		nats.ReconnectHandler(c.reconnected),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.erred(err) }),
	), nil
}

// answerQueue is how many messages that answer one request may wait until they
// are read: more than the server ever sends for one (maxLast). Each request makes
// room for so many, and the default of nats.go is half a megabyte.
const answerQueue = 4096

// erred logs what the server says of something that nobody waits for, and
// remembers what it does not permit: to a request there is then no answer.
func (c *Conn) erred(err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		c.denied.Store(new(err.Error()))
	}
	c.log.Warn("nats reports an error", "error", err)
}
