package events

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// VAPID is what dispatchers need to identify themselves to push services of browsers (RFC 8292).
// It is the value of the key "key" in the VAPID bucket, written by the registry, which keeps
// the key in its database. Only dispatchers and the registry may read it.
type VAPID struct {
	PrivateKey string `json:"private_key"` // of P-256: 32 bytes, unpadded base64url
	Subject    string `json:"subject"`     // mailto: or https: URL of the operator
}

// LogValue keeps the private key out of logs (G9).
func (v VAPID) LogValue() slog.Value { return slog.StringValue(v.Subject) }

// ParseVAPID parses the value.
func ParseVAPID(raw []byte) (v VAPID, err error) {
	if err := json.Unmarshal(raw, &v); err != nil {
		return VAPID{}, fmt.Errorf("decode vapid key: %w", err)
	}
	if v.PrivateKey == "" || v.Subject == "" {
		return VAPID{}, fmt.Errorf("decode vapid key: private_key or subject is missing")
	}
	return v, nil
}
