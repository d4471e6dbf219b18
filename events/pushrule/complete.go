package pushrule

import "slices"

// Completed returns a ruleset that a homeserver keeps for a user, with the predefined rules of Matrix v1.19 that it
// lacks, enabled, each at its place: before the first rule of its kind that follows it in the order of the
// specification, otherwise at the end. Clients complete the rules of an older homeserver in the same way, so a user gets
// the notifications that the client's settings show. Rules that the homeserver has stay as they are, where they are.
func (rs *Ruleset) Completed(userID string) Ruleset {
	predefined := Predefined(userID)
	whole := *rs
	whole.Override = completed(rs.Override, predefined.Override)
	whole.Underride = completed(rs.Underride, predefined.Underride)
	return whole
}

func completed(rules, predefined []Rule) []Rule {
	order := orderOf(predefined)
	missing := slices.DeleteFunc(predefined, func(want Rule) bool {
		return slices.ContainsFunc(rules, func(r Rule) bool { return stableID(r.ID) == want.ID })
	})
	if len(missing) == 0 {
		return rules
	}
	whole := make([]Rule, 0, len(rules)+len(missing))
	for _, rule := range rules {
		at := slices.Index(order, stableID(rule.ID))
		for len(missing) > 0 && slices.Index(order, missing[0].ID) < at {
			whole, missing = append(whole, missing[0]), missing[1:]
		}
		whole = append(whole, rule)
	}
	return append(whole, missing...)
}

// orderOf returns the ids of predefined rules in order. Each rule that v1.17 removed follows the one that replaced it:
// older homeservers have them in that order.
func orderOf(predefined []Rule) []string {
	var order []string
	for _, rule := range predefined {
		order = append(order, rule.ID)
		switch rule.ID {
		case ".m.rule.is_user_mention":
			order = append(order, ".m.rule.contains_display_name")
		case ".m.rule.is_room_mention":
			order = append(order, ".m.rule.roomnotif")
		}
	}
	return order
}

// stableID returns the id that a rule has in the specification, if a homeserver has the same rule under the id of its
// proposal.
func stableID(id string) string {
	switch id {
	case ".org.matrix.msc3786.rule.room.server_acl":
		return ".m.rule.room.server_acl"
	case ".org.matrix.msc3958.suppress_edits":
		return ".m.rule.suppress_edits"
	}
	return id
}
