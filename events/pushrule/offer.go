package pushrule

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Offers is a set of proposals for the specification (MSCs) whose predefined rules users have besides those of the
// specification. The operator chooses it. The zero value offers none.
type Offers uint8

// The proposals. Their rules have the ids that the proposals give them while they are unstable.
const (
	MSC3930 Offers = 1 << iota // polls notify as messages do
	MSC4028                    // every encrypted event notifies, unless a rule of the user mutes the room
	MSC4506                    // a knock notifies those who may invite
	MSC4306                    // threads notify those who are subscribed to them
)

// proposals names each proposal, as operators write it.
var proposals = []proposal{ //nolint:gochecknoglobals // a constant table
	{"msc3930", MSC3930},
	{"msc4028", MSC4028},
	{"msc4306", MSC4306},
	{"msc4506", MSC4506},
}

type proposal struct {
	name  string
	offer Offers
}

// ErrUnknownProposal is wrapped by the error about a name that is not one of a proposal.
var ErrUnknownProposal = errors.New("unknown proposal")

// ParseOffers returns the set of proposals with these names. If some are unknown, it returns the others and an error.
func ParseOffers(names []string) (offers Offers, err error) {
	for _, name := range names {
		at := slices.IndexFunc(proposals, func(p proposal) bool { return p.name == name })
		if at < 0 {
			err = fmt.Errorf("%w %q, the known ones are %s", ErrUnknownProposal, name, strings.Join(Offers(math.MaxUint8).Names(), ", "))
			continue
		}
		offers |= proposals[at].offer
	}
	return offers, err
}

// Names returns the names of the proposals, in alphabetical order.
func (o Offers) Names() []string {
	names := []string{}
	for _, p := range proposals {
		if o&p.offer != 0 {
			names = append(names, p.name)
		}
	}
	return names
}

// include reports whether a rule of a proposal is offered. Rules of the specification, and a user's own, always are.
func (o Offers) include(proposal Offers) bool { return proposal&^o == 0 }

// Offering returns the ruleset without rules of proposals that are not offered.
func (rs *Ruleset) Offering(o Offers) Ruleset {
	out := *rs
	for _, rules := range []*[]Rule{&out.Override, &out.PostContent, &out.Underride} {
		if slices.ContainsFunc(*rules, func(r Rule) bool { return !o.include(r.proposal) }) {
			*rules = slices.DeleteFunc(slices.Clone(*rules), func(r Rule) bool { return !o.include(r.proposal) })
		}
	}
	if len(out.PostContent) == 0 {
		out.PostContent = nil // clients do not know the kind
	}
	return out
}

// withProposed adds the rules of all proposals to the predefined rules, each at the place that its proposal gives it.
// Each matches only events for which its proposal is offered: see [Event.Offer].
func withProposed(rules Ruleset) Ruleset {
	// MSC4028: directly after the master rule, so that only a user's own rules come before.
	rules.Override = slices.Insert(rules.Override, 1,
		proposed(MSC4028, ".org.matrix.msc4028.encrypted_event", []Condition{eventMatch("type", "m.room.encrypted")}, []Action{notify}))
	// MSC4506: directly after the rule about invites, and so before the one by which members notify nobody.
	after := slices.IndexFunc(rules.Override, func(r Rule) bool { return r.ID == ".m.rule.invite_for_me" })
	rules.Override = slices.Insert(rules.Override, after+1, proposed(MSC4506, ".org.matrix.msc4506.rule.knock", []Condition{
		eventMatch("type", "m.room.member"), eventMatch("content.membership", "knock"),
		`{"kind":"org.matrix.msc4506.recipient_permission","key":"invite"}`,
	}, []Action{notify, soundDefault}))
	rules.Override = append(rules.Override,
		proposed(MSC3930, ".org.matrix.msc3930.rule.poll_response", []Condition{eventMatch("type", "org.matrix.msc3381.poll.response")}, nil))
	// MSC4306: after a user's keywords and before what a user chose for the room, in a kind of its own.
	rules.PostContent = []Rule{
		proposed(MSC4306, ".io.element.msc4306.rule.unsubscribed_thread", []Condition{threadSubscribed("false")}, nil),
		proposed(MSC4306, ".io.element.msc4306.rule.subscribed_thread", []Condition{threadSubscribed("true")}, []Action{notify, soundDefault}),
	}
	start, end := eventMatch("type", "org.matrix.msc3381.poll.start"), eventMatch("type", "org.matrix.msc3381.poll.end")
	rules.Underride = append(rules.Underride,
		proposed(MSC3930, ".org.matrix.msc3930.rule.poll_start_one_to_one", []Condition{twoMembers, start}, []Action{notify, soundDefault}),
		proposed(MSC3930, ".org.matrix.msc3930.rule.poll_start", []Condition{start}, []Action{notify}),
		proposed(MSC3930, ".org.matrix.msc3930.rule.poll_end_one_to_one", []Condition{twoMembers, end}, []Action{notify, soundDefault}),
		proposed(MSC3930, ".org.matrix.msc3930.rule.poll_end", []Condition{end}, []Action{notify}),
	)
	return rules
}

func threadSubscribed(want string) Condition {
	return Condition(`{"kind":"io.element.msc4306.thread_subscription","subscribed":` + want + `}`)
}

func proposed(by Offers, id string, conditions []Condition, actions []Action) Rule {
	rule := predefined(id, conditions, actions)
	rule.proposal = by
	return rule
}
