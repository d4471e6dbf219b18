// Package homeserver is what a Matrix homeserver is to poked: an HTTP client of
// the client-server API (Matrix v1.19) for the few things that poked asks.
//
//	Client  ── with the token of whoever asks: Whoami, PushRules, Forward
//	Service ── with the token of an application service, as a user of the
//	           homeserver: RoomState, JoinedRooms, HasDevice, PushRulesOf
//
// Nothing here decides what follows from an answer, and nothing is kept: caches,
// repetition and patience are the callers'.
//
// # What fails, and how
//
// Every error is one of three kinds. [ErrUnknownToken]: the homeserver says, in
// Matrix' own words, that a token is nobody's. [ErrRefused]: it says in the same
// way that it will not, or that there is no such thing; [Error] has its errcode.
// [ErrCannotTell] is all else: it is away, it fails, it has no time, or something
// between us and it answers in its place. Nobody is logged out, and no pusher goes,
// for the third kind.
//
// A homeserver is believed and yet bounded: every request has a time limit, every
// body a size. Redirects are not followed, for a token would go along, and proxies
// in the environment are not used. No error repeats a token or a body.
package homeserver

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config says which homeserver it is.
type Config struct {
	// URL is the homeserver's client-server API, scheme and host and nothing else.
	URL string `name:"homeserver" placeholder:"URL" env:"POKED_HOMESERVER" help:"URL of the homeserver itself, such as http://127.0.0.1:8008, not of the reverse proxy in front of poked. It authenticates access tokens and stores push rules."`
	// Registration is the path of the application service's registration file.
	Registration string `name:"registration" placeholder:"FILE" type:"path" env:"POKED_REGISTRATION" help:"Registration file of poked as an application service, written by poked bridge registration."`
}

// Validate checks the values; kong calls it.
func (c Config) Validate() error {
	if c.URL == "" {
		return nil
	}
	_, err := parseURL(c.URL)
	return err
}

// Limits of the connections to a homeserver.
const (
	maxConns    = 32
	idleTimeout = 90 * time.Second
)

// Client asks a homeserver. It is safe for concurrent use.
type Client struct {
	base *url.URL
	http *http.Client
}

// New returns a client of the homeserver at a URL such as
// http://127.0.0.1:8008. It does not connect.
func New(rawURL string) (*Client, error) {
	base, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	return &Client{base: base, http: &http.Client{
		Transport: &http.Transport{
			MaxConnsPerHost:     maxConns,
			MaxIdleConnsPerHost: maxConns,
			IdleConnTimeout:     idleTimeout,
			TLSHandshakeTimeout: askTimeout,
			ForceAttemptHTTP2:   true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close closes the connections that nobody uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// parseURL takes scheme and host, and nothing that could lead elsewhere.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("--homeserver is no URL") // which may hold a password
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("--homeserver must begin with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("--homeserver names no host")
	case u.User != nil:
		return nil, errors.New("--homeserver must hold no user or password")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("--homeserver must end after the host: %s://%s", u.Scheme, u.Host)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}
