package bridge

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"poked/events/homeserver"
)

// NewRegistration returns the text of a registration file with new tokens: what an
// operator gives to the homeserver with this server name, which reaches the bridge
// at bridgeURL.
func NewRegistration(serverName, bridgeURL string) (string, error) {
	if !regexp.MustCompile(`^[A-Za-z0-9.\-:\[\]]{1,230}$`).MatchString(serverName) {
		return "", errors.New("the server name must be what stands after the colon in user ids, such as example.org")
	}
	u, err := url.Parse(bridgeURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("the bridge's URL must be one such as http://127.0.0.1:8721, where the homeserver reaches it")
	}
	return fmt.Sprintf(registrationText, strings.TrimRight(u.String(), "/"),
		homeserver.NewToken(), homeserver.NewToken(), regexp.QuoteMeta(serverName)), nil
}

// registrationText is the file, with places for the URL, as_token, hs_token and the
// server name as a regular expression.
const registrationText = `# poked as an application service. Give this file to the homeserver, and to
# poked with --registration. It holds two secrets: let only these two read it.

# Changing the id makes the homeserver forget how far it has sent.
id: poked

# Where the homeserver reaches poked (--bridge-http). This may change; restart the
# homeserver after it.
url: %q

# What poked shows to the homeserver, and the homeserver to poked. To replace them,
# replace them here and restart both.
as_token: %q
hs_token: %q

# A user of poked's own that the specification asks for. It joins nothing.
sender_localpart: _poked

# poked reads the state of rooms before it can notify anyone: do not slow that down.
rate_limited: false

namespaces:
  users:
    # All users of this homeserver: of whose rooms poked is told.
    #
    # exclusive must stay false. With true nobody could register or log in any more,
    # and Synapse would take everyone for a bot and decide no push for anyone.
    - exclusive: false
      regex: '@.*:%s$'
  # Rooms follow from users. Naming rooms or aliases here would reserve them.
  rooms: []
  aliases: []

# Read receipts come with the events. The second line says the same to servers from
# before Matrix v1.13.
receive_ephemeral: true
de.sorunome.msc2409.push_ephemeral: true
`
