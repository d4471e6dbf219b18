package events

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"strings"
	"unicode/utf8"
)

// UserID is a Matrix user id such as @alice:example.org, at most 255 bytes
// (Matrix specification, appendix "Identifier Grammar").
type UserID string

// userID matches a user id. The localpart may contain any character except ":" and NUL
// (section "Historical User IDs"); the server name is a host with an optional port.
var userID = regexp.MustCompile(`^@[^:\x00]*:(?:[0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)

// Valid reports whether u has the form of a user id.
func (u UserID) Valid() bool {
	return len(u) <= MaxIDBytes && utf8.ValidString(string(u)) && userID.MatchString(string(u))
}

// Server returns the name of the user's server, or "" if u has none.
func (u UserID) Server() string {
	_, server, _ := strings.Cut(string(u), ":")
	return server
}

// RoomID is a Matrix room id such as !abc:example.org, or !hash since room
// version 12, at most 255 bytes.
type RoomID string

// EventID is a Matrix event id such as $hash, at most 255 bytes.
type EventID string

// MaxIDBytes is the length of the longest identifier that Matrix allows, in bytes.
const MaxIDBytes = 255

// NoToken is the token of the empty string: the empty state key, the main timeline, or
// the user of a dead letter that belongs to none. No id encodes to it, since an encoded
// id has two characters or more.
const NoToken = "_"

// Token returns id as one token of a NATS subject: the unpadded base64url of its bytes,
// or "_" if it is empty. Subjects never contain a raw id.
func Token[T ~string](id T) string {
	return string(appendToken(make([]byte, 0, longestToken), id))
}

// longestToken is how many bytes the token of an id has at most.
const longestToken = (MaxIDBytes*4 + 2) / 3

func appendToken[T ~string](dst []byte, id T) []byte {
	if id == "" {
		return append(dst, NoToken...)
	}
	return base64.RawURLEncoding.AppendEncode(dst, []byte(id))
}

// isToken reports whether token is that of an id, without making that.
func isToken[T ~string](token string, id T) bool {
	return string(appendToken(make([]byte, 0, longestToken), id)) == token
}

// errNoToken is the error for a string that [Token] never returns.
var errNoToken = errors.New("decode subject token: it is none")

// ParseToken decodes what [Token] returned.
func ParseToken[T ~string](token string) (T, error) {
	if token == NoToken {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return "", fmt.Errorf("decode subject token: %w", err)
	}
	if Token(T(raw)) != token { // it is empty, or has line breaks, which the decoder ignores
		return "", errNoToken
	}
	return T(raw), nil
}

// PartitionOf returns the partition, 0 to partitions-1, of the room or user with this
// token. It computes what nats-server computes for {{partition(n,1)}}: the 32-bit FNV-1a
// hash of the token, modulo n.
func PartitionOf(token string, partitions int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(token))
	return int(h.Sum32() % uint32(partitions)) //nolint:gosec // partitions is 1 to MaxPartitions
}

// PartitionOfID is [PartitionOf] the token of an id, without making that.
func PartitionOfID[T ~string](id T, partitions int) int {
	if id == "" {
		return PartitionOf(NoToken, partitions)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" // base64url
	h := uint32(2166136261)                                                             // FNV-1a
	bits, n := uint32(0), 0                                                             // those that no character has encoded yet
	for i := range len(id) {
		bits, n = bits<<8|uint32(id[i]), n+8
		for ; n >= 6; n -= 6 {
			h = (h ^ uint32(alphabet[bits>>(n-6)&63])) * 16777619
		}
	}
	if n > 0 {
		h = (h ^ uint32(alphabet[bits<<(6-n)&63])) * 16777619
	}
	return int(h % uint32(partitions)) //nolint:gosec // partitions is 1 to MaxPartitions
}

// PusherID identifies a pusher without its pushkey: in subjects, in logs and in answers
// to operators. It is a digest of (user, app_id, pushkey): 22 characters of base64url.
type PusherID string

// NewPusherID returns the id of a pusher.
func NewPusherID(user UserID, appID, pushkey string) PusherID {
	h := sha256.New()
	for _, part := range []string{string(user), appID, pushkey} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return PusherID(base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16]))
}

// IsID reports whether id has a length that Matrix allows: 1 to [MaxIDBytes] bytes.
func IsID[T ~string](id T) bool { return id != "" && len(id) <= MaxIDBytes }
