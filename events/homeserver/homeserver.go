// Package homeserver is an HTTP client of a Matrix homeserver's client-server API (Matrix
// v1.19), for the few requests that poked makes.
//
//	Client  ── with the token of a client: Whoami, Forward
//	Service ── with the token of an application service: Whoami, and on behalf of a local
//	           user RoomState, JoinedRooms
//	Account ── of one user, with either token: PushRules, IgnoredUsers, DoNotDisturb, Pushers,
//	           DeletePusher, Devices, HasDevice
//
// The package caches nothing, retries nothing and does not interpret answers beyond their
// kind: that is up to the callers.
//
// # What fails, and how
//
// Every error is one of three kinds. [ErrUnknownToken]: a Matrix error says that the
// token is unknown. [ErrRefused]: a Matrix error refuses the request, or says that
// something does not exist; [Error] has the errcode. [ErrCannotTell] is everything else:
// the homeserver is down, fails, is rate limited or too slow, or a proxy answers in its
// place. For the third kind nobody is logged out and no pusher is removed.
//
// Every request has a timeout and every body a size limit. Redirects are not followed,
// since they would pass on the token, and proxies from the environment are not used. No
// error contains a token or a body.
package homeserver

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config names the homeserver.
type Config struct {
	// URL is the base URL of the client-server API: scheme and host only.
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

// Client sends requests to a homeserver. It is safe for concurrent use.
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

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// parseURL accepts a URL with a scheme and a host, and nothing else.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("--homeserver is not a URL") // err may contain a password
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("--homeserver must begin with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("--homeserver names no host")
	case u.User != nil:
		return nil, errors.New("--homeserver must not contain a user or password")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("--homeserver must end after the host: %s://%s", u.Scheme, u.Host)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}
