package match

import "strings"

// maxAvatarBytes bounds the URI of a room's avatar, which match keeps for each room and stores with
// each notification. A server name has at most 255 bytes, and a media id is short.
const maxAvatarBytes = 512

// avatarIn returns the URI that the content of m.room.avatar has, or "" if it is no mxc URI (client-server
// API, "Matrix Content (mxc://) URIs") or too long.
func avatarIn(content []byte) string {
	uri := textOf(content, "url")
	rest, isMXC := strings.CutPrefix(uri, "mxc://")
	server, media, _ := strings.Cut(rest, "/")
	odd := strings.ContainsFunc(uri, func(c rune) bool { return c <= ' ' || c > '~' })
	if !isMXC || odd || server == "" || media == "" || strings.Contains(media, "/") || len(uri) > maxAvatarBytes {
		return ""
	}
	return uri
}
