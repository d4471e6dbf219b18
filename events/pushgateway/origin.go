package pushgateway

import "net/url"

// ParseOrigin returns the origin of a gateway that an operator names, in the form of
// [URL.Origin]: "https://push.example.org" is "https://push.example.org:443". A path and a
// query are ignored, so the URL of a pusher names its gateway. It does not check whether a
// policy allows the gateway. The error is a *Refusal.
func ParseOrigin(raw string) (string, error) {
	if err := checkText(raw); err != nil {
		return "", err
	}
	parsed, err := url.Parse(raw)
	switch {
	case err != nil: // quotes what may be secret
		return "", refuse("this is not a valid URL")
	case parsed.Scheme != "https" && parsed.Scheme != "http", parsed.Opaque != "":
		return "", refuse("it must begin with https:// or http://")
	case parsed.User != nil:
		return "", refuse("the URL must not hold a user name or password")
	case parsed.Hostname() == "":
		return "", refuse("the URL has no host")
	}
	port, err := urlPort(parsed)
	if err != nil {
		return "", err
	}
	u := URL{scheme: parsed.Scheme, host: parsed.Hostname(), port: port}
	if parsed.Host[0] == '[' || endsInNumber(u.host) {
		if _, err := literalAddr(u.host); err != nil {
			return "", err
		}
	} else if u.host, err = canonicalName(u.host); err != nil {
		return "", err
	}
	u.setText("", "")
	return u.origin, nil
}
