package node

import (
	"errors"

	"poked/events/stream"
)

// NATSFlags say who a process is to NATS, and whom it trusts. A user and password
// go into the URL.
type NATSFlags struct {
	Creds   string `name:"nats-creds" type:"path" env:"POKED_NATS_CREDS" placeholder:"FILE" help:"Credentials for NATS: a .creds file, or the seed of an nkey. A user and password stand in the URL instead, nats://user:password@host:4222."`
	TLSCA   string `name:"nats-tls-ca" type:"path" env:"POKED_NATS_TLS_CA" placeholder:"FILE" help:"Trust NATS servers whose certificate these, PEM, have signed, instead of the system's."`
	TLSCert string `name:"nats-tls-cert" type:"path" env:"POKED_NATS_TLS_CERT" placeholder:"FILE" help:"Certificate, PEM, to show to NATS."`
	TLSKey  string `name:"nats-tls-key" type:"path" env:"POKED_NATS_TLS_KEY" placeholder:"FILE" help:"Key of --nats-tls-cert, PEM."`
}

// Validate is called by kong.
func (f NATSFlags) Validate() error {
	if (f.TLSCert == "") != (f.TLSKey == "") {
		return errors.New("--nats-tls-cert and --nats-tls-key belong together")
	}
	return nil
}

// Credentials returns how to log in to NATS.
func (f NATSFlags) Credentials() stream.Credentials {
	return stream.Credentials{Creds: f.Creds, TLSCA: f.TLSCA, TLSCert: f.TLSCert, TLSKey: f.TLSKey}
}
