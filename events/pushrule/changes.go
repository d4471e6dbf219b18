package pushrule

// Changes is how a user's rules differ from the predefined ones: the user's own rules, in evaluation order within
// their kind, and the changes to predefined rules. The zero value changes nothing. Since the predefined rules are
// stored separately, they follow the specification.
type Changes struct {
	Override   []Rule            `json:"override,omitempty"`
	Content    []Rule            `json:"content,omitempty"`
	Room       []Rule            `json:"room,omitempty"`
	Sender     []Rule            `json:"sender,omitempty"`
	Underride  []Rule            `json:"underride,omitempty"`
	Predefined map[string]Change `json:"predefined,omitempty"` // by rule id; unknown ids are ignored
}

// Change is a user's change to one predefined rule.
type Change struct {
	Enabled *bool    `json:"enabled,omitempty"` // nil: as predefined
	Actions []Action `json:"actions,omitzero"`  // nil: as predefined
}

// IsZero reports whether nothing was changed.
func (c *Changes) IsZero() bool {
	return len(c.Override)+len(c.Content)+len(c.Room)+len(c.Sender)+len(c.Underride)+len(c.Predefined) == 0
}

// Ruleset returns all the rules of a user: for each kind the user's own rules, then the predefined ones with those of
// proposals, but .m.rule.master always first. [Ruleset.Offering] leaves out those that clients do not see.
func (c *Changes) Ruleset(userID string) Ruleset {
	rules := withProposed(Predefined(userID))
	rules.Override = c.withOwn(c.Override, rules.Override)
	rules.Content = c.withOwn(c.Content, rules.Content)
	rules.PostContent = c.withOwn(nil, rules.PostContent) // users have none of their own (MSC4306)
	rules.Room = c.withOwn(c.Room, rules.Room)
	rules.Sender = c.withOwn(c.Sender, rules.Sender)
	rules.Underride = c.withOwn(c.Underride, rules.Underride)
	return rules
}

// withOwn combines the user's rules of a kind with the predefined ones, including the user's changes.
func (c *Changes) withOwn(own, predefined []Rule) []Rule {
	rules := make([]Rule, 0, len(own)+len(predefined))
	if len(predefined) > 0 && predefined[0].ID == masterID {
		rules, predefined = append(rules, c.changed(predefined[0])), predefined[1:]
	}
	rules = append(rules, own...)
	for _, rule := range predefined {
		rules = append(rules, c.changed(rule))
	}
	return rules
}

func (c *Changes) changed(rule Rule) Rule {
	change := c.Predefined[rule.ID]
	if change.Enabled != nil {
		rule.Enabled = *change.Enabled
	}
	if change.Actions != nil {
		rule.Actions = change.Actions
	}
	return rule
}
