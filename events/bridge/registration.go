package bridge

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"poked/events/homeserver"
)

// NewRegistration returns the text of a registration file with new tokens, for the
// homeserver with this server name, which reaches the bridge at bridgeURL.
func NewRegistration(serverName, bridgeURL string) (string, error) {
	if !regexp.MustCompile(`^[A-Za-z0-9.\-:\[\]]{1,230}$`).MatchString(serverName) {
		return "", errors.New("the server name must be the part after the colon in user ids, such as example.org")
	}
	u, err := url.Parse(bridgeURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("the bridge's URL must be the address at which the homeserver reaches it, such as http://127.0.0.1:8721")
	}
	return fmt.Sprintf(registrationText, strings.TrimRight(u.String(), "/"),
		homeserver.NewToken(), homeserver.NewToken(), regexp.QuoteMeta(serverName)), nil
}

// registrationText is the file, with places for the URL, as_token, hs_token and the
// server name as a regular expression.
const registrationText = `# poked as an application service. Give this file to the homeserver, and to poked with
# --registration. It contains two secrets: make it readable for these two only.

# If the id changes, the homeserver loses track of what it has already sent.
id: poked

# Where the homeserver reaches poked (--bridge-http). Restart the homeserver after a
# change.
url: %q

# poked authenticates to the homeserver with as_token, the homeserver to poked with
# hs_token. To replace them, change them here and restart both.
as_token: %q
hs_token: %q

# A user of poked's own, which the specification requires. It joins no room.
sender_localpart: _poked

# poked must read the state of rooms before it can notify anyone, so it should not be
# rate limited.
rate_limited: false

namespaces:
  users:
    # All users of this homeserver: poked receives the events of their rooms.
    #
    # exclusive must stay false. With true nobody could register or log in, and Synapse
    # would treat everyone as a bot and send no push to anyone.
    - exclusive: false
      regex: '@.*:%s$'
  # Rooms follow from users. Rooms or aliases listed here would be reserved.
  rooms: []
  aliases: []

# Receive read receipts. The second line is for servers older than Matrix v1.13.
receive_ephemeral: true
de.sorunome.msc2409.push_ephemeral: true
`
