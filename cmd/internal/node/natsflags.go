package node

import (
	"errors"

	"poked/events/stream"
)

// NATSFlags are the credentials of a process at NATS, and the certificates that it trusts.
// A user and password go into the URL.
type NATSFlags struct {
	Creds   string `name:"nats-creds" type:"path" env:"POKED_NATS_CREDS" placeholder:"FILE" help:"Credentials for NATS: a .creds file, or the seed of an nkey. A user and password go into the URL instead: nats://user:password@host:4222."`
	TLSCA   string `name:"nats-tls-ca" type:"path" env:"POKED_NATS_TLS_CA" placeholder:"FILE" help:"CA certificates (PEM) for NATS servers, instead of the system's."`
	TLSCert string `name:"nats-tls-cert" type:"path" env:"POKED_NATS_TLS_CERT" placeholder:"FILE" help:"Client certificate (PEM) for NATS."`
	TLSKey  string `name:"nats-tls-key" type:"path" env:"POKED_NATS_TLS_KEY" placeholder:"FILE" help:"Private key (PEM) of --nats-tls-cert."`
}

// Validate is called by kong.
func (f NATSFlags) Validate() error {
	if (f.TLSCert == "") != (f.TLSKey == "") {
		return errors.New("--nats-tls-cert and --nats-tls-key belong together")
	}
	return nil
}

// Credentials returns the credentials that the flags configure.
func (f NATSFlags) Credentials() stream.Credentials {
	return stream.Credentials{Creds: f.Creds, TLSCA: f.TLSCA, TLSCert: f.TLSCert, TLSKey: f.TLSKey}
}
