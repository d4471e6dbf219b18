package stream

import (
	"bytes"
	"cmp"
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

// Credentials are the files that authenticate a connection and its server. Each field is
// a path, or empty for none.
type Credentials struct {
	// Creds is a NATS credentials file (a JWT and the seed of its nkey, as nsc writes it)
	// or the seed of an nkey alone.
	Creds string
	// TLSCA holds the CA certificates, PEM, for the server's certificate. They replace
	// the system's.
	TLSCA string
	// TLSCert and TLSKey are the client's certificate and key, PEM.
	TLSCert, TLSKey string
}

// Check reads the files and returns the first error in them.
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
	// The client reads the file each time it connects, and would retry a missing one
	// for ever.
	content, err := os.ReadFile(c.Creds)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read nats credentials: %w", err)
	case bytes.Contains(content, []byte("BEGIN NATS USER JWT")):
		return append(opts, nats.UserCredentials(c.Creds)), nil
	}
	seed, err := nats.NkeyOptionFromSeed(c.Creds)
	if err != nil { // the error must not quote the file
		return nil, fmt.Errorf("read nats credentials: %s holds neither a user's JWT nor the seed of a user's nkey", c.Creds)
	}
	return append(opts, seed), nil
}

// dialPause is the pause between two attempts to connect for the first time, plus up to
// as much again at random.
const dialPause = 250 * time.Millisecond

// dial connects, retrying for as long as ctx allows.
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

// isRefusal reports whether client or server refuses the other, which waiting does not
// change.
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
		nats.DisconnectErrHandler(c.disconnected),
		nats.ReconnectHandler(c.reconnected),
		nats.MaxReconnects(-1),
		// A server that is misconfigured for a while, and refuses clients that it accepted
		// before, must not end the connection for good.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(250*time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		// Nothing is written behind the caller's back: a publish while NATS is
		// away is an error now, not a surprise after the reconnect.
		nats.ReconnectBufSize(-1),
		// A write to a peer that no longer reads holds a lock of the client's that every
		// other write needs, so such a connection is given up soon.
		nats.FlusherTimeout(cmp.Or(c.cfg.WriteTimeout, RequestTimeout)),
		nats.ReconnectOnFlusherError(),
		nats.PingInterval(20*c.pulse),
		nats.SyncQueueLen(answerQueue),
		nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.erred(err) }),
	), nil
}

// answerQueue is how many messages in answer to one request may be queued: more than the
// server ever sends for one (maxLast). nats.go allocates the queue for each request, and
// its default takes half a megabyte.
const answerQueue = 4096

// erred logs an asynchronous error of the server's. It remembers a permission that was
// denied, since a request without permission gets no answer.
func (c *Conn) erred(err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		c.denied.Store(new(err.Error()))
	}
	c.log.Warn("nats reports an error", "error", err)
}
