package events

import (
	"encoding/json"
	"errors"
	"fmt"

	"poked/events/pushrule"
)

// OfferedRules is the value of the key "offered" in the PUSH_RULES bucket: the proposals for the
// specification whose predefined rules the registry offers to all users, by name. Without
// the key it offers none.
type OfferedRules struct {
	Offered []string `json:"offered"` // such as msc3930
}

// NewOfferedRules returns the value of what is offered.
func NewOfferedRules(offers pushrule.Offers) OfferedRules { return OfferedRules{offers.Names()} }

// ParseOfferedRules parses the value. With an error about names, which a newer registry may
// know, the known ones are offered.
func ParseOfferedRules(raw []byte) (pushrule.Offers, error) {
	var value OfferedRules
	if err := json.Unmarshal(raw, &value); err != nil {
		return 0, fmt.Errorf("decode offered rules: %w", err)
	}
	if value.Offered == nil {
		return 0, errors.New("decode offered rules: offered is missing")
	}
	offers, err := pushrule.ParseOffers(value.Offered)
	if err != nil {
		err = fmt.Errorf("decode offered rules: %w", err)
	}
	return offers, err
}
