package events

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"unicode/utf8"
)

// UserID is a Matrix user id such as @alice:example.org, at most 255 bytes
// (Matrix specification, appendix "Identifier Grammar").
type UserID string

// userID is the form of a user id. Its localpart may have any characters but these two
// ("Historical User IDs"), its server name is a host and maybe a port.
var userID = regexp.MustCompile(`^@[^:\x00]*:(?:[0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)

// Valid reports whether u has the form of a user id.
func (u UserID) Valid() bool {
	return len(u) <= MaxIDBytes && utf8.ValidString(string(u)) && userID.MatchString(string(u))
}

// RoomID is a Matrix room id such as !abc:example.org, or !hash since room
// version 12, at most 255 bytes.
type RoomID string

// EventID is a Matrix event id such as $hash, at most 255 bytes.
type EventID string

// MaxIDBytes is the longest identifier that Matrix allows, in bytes.
const MaxIDBytes = 255

// NoToken stands in a subject where there is nothing to name: the empty state
// key, or a dead letter that belongs to no user. It cannot be the encoding of
// an id, which has two characters at least.
const NoToken = "_"

// Token returns id as one token of a NATS subject: unpadded base64url of its
// bytes, and "_" for the empty string. No raw id ever stands in a subject.
func Token[T ~string](id T) string {
	if id == "" {
		return NoToken
	}
	return base64.RawURLEncoding.EncodeToString([]byte(id))
}

// errNoToken says that something is not what [Token] returns.
var errNoToken = errors.New("decode subject token: it is none")

// ParseToken undoes [Token].
func ParseToken[T ~string](token string) (T, error) {
	if token == NoToken {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return "", fmt.Errorf("decode subject token: %w", err)
	}
	if Token(T(raw)) != token { // it is empty, or has line breaks, which base64 passes over
		return "", errNoToken
	}
	return T(raw), nil
}

// PartitionOf returns the partition, 0 to partitions-1, of the room or user
// with that token. It is the function that nats-server applies for
// {{partition(n,1)}}: 32-bit FNV-1a of the token, modulo n.
func PartitionOf(token string, partitions int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(token))
	return int(h.Sum32() % uint32(partitions)) //nolint:gosec // partitions is 1 to MaxPartitions
}

// PusherID names a pusher where its pushkey must not be seen: in subjects,
// logs and answers to an operator. It is a digest of (user, app_id, pushkey),
// 22 characters of base64url.
type PusherID string

// NewPusherID returns the id of the pusher with this identity.
func NewPusherID(user UserID, appID, pushkey string) PusherID {
	h := sha256.New()
	for _, part := range []string{string(user), appID, pushkey} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return PusherID(base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16]))
}

func IsID[T ~string](id T) bool { return id != "" && len(id) <= MaxIDBytes }
