package registry

import (
	"context"
	"fmt"
	"unicode/utf8"

	"poked/events/pushrule"
	"poked/registry/problem"
	"poked/registry/request"
	"poked/registry/store"
)

// This file serves the push rules of the client-server API, module "Push Notifications",
// and the rules of single devices: pushrules/device/{instanceHandle}/ under the original
// prefix, with the same methods.

// refuseRulePath answers paths under pushrules/ that match no other endpoint.
func refuseRulePath(context.Context, *call) (any, error) {
	return nil, problem.New(problem.InvalidParam, "the path of a push rule is pushrules/global/{kind}/{ruleId}, optionally followed by /enabled or /actions; "+
		"the path of a list ends in a slash; under api/v1 device/{instanceHandle} can replace global")
}

// scope returns the scope that a path names: "" for the global rules, or the handle of a
// device.
func (c *call) scope() (string, error) {
	handle, ok := c.params["instanceHandle"]
	if ok && (!utf8.ValidString(handle) || utf8.RuneCountInString(handle) > request.MaxHandleChars) {
		return "", problem.New(problem.InvalidParam, fmt.Sprintf("an instance_handle must have 1 to %d characters", request.MaxHandleChars))
	}
	return handle, nil
}

// ruleName returns the rule that a path names.
func (c *call) ruleName() (store.RuleName, error) {
	scope, err := c.scope()
	if err != nil {
		return store.RuleName{}, err
	}
	name := store.RuleName{Scope: scope, Kind: pushrule.Kind(c.params["kind"]), ID: c.params["ruleId"]}
	if new(pushrule.Ruleset).Of(name.Kind) == nil {
		return store.RuleName{}, problem.New(problem.InvalidParam, "the kind of a rule must be override, content, postcontent, room, sender or underride")
	}
	return name, nil
}

// allRules is the answer of GET pushrules/.
type allRules struct {
	Global pushrule.Ruleset            `json:"global"`
	Device map[string]pushrule.Ruleset `json:"device,omitempty"`
}

// getRules answers GET pushrules/. Only the original prefix includes the rules of
// devices, which later versions of the specification dropped.
func (a *api) getRules(ctx context.Context, c *call) (any, error) {
	rules, err := a.store.PushRules(ctx, c.identity.UserID)
	if err != nil {
		return nil, err
	}
	all := allRules{Global: a.store.Ruleset(&rules, "")}
	if c.original {
		all.Device = rules.Devices
	}
	return all, nil
}

// getScope answers GET pushrules/global/ and GET pushrules/device/{instanceHandle}/.
// A device without rules has five empty lists.
func (a *api) getScope(ctx context.Context, c *call) (any, error) {
	scope, err := c.scope()
	if err != nil {
		return nil, err
	}
	rules, err := a.store.PushRules(ctx, c.identity.UserID)
	if err != nil {
		return nil, err
	}
	return a.store.Ruleset(&rules, scope), nil
}

// getRule answers GET …/{kind}/{ruleId}.
func (a *api) getRule(ctx context.Context, c *call) (any, error) {
	return a.rule(ctx, c)
}

func (a *api) rule(ctx context.Context, c *call) (pushrule.Rule, error) {
	name, err := c.ruleName()
	if err != nil {
		return pushrule.Rule{}, err
	}
	return a.store.Rule(ctx, c.identity.UserID, name)
}

// getRuleEnabled answers GET …/{kind}/{ruleId}/enabled.
func (a *api) getRuleEnabled(ctx context.Context, c *call) (any, error) {
	rule, err := a.rule(ctx, c)
	return map[string]bool{"enabled": rule.Enabled}, err
}

// getRuleActions answers GET …/{kind}/{ruleId}/actions.
func (a *api) getRuleActions(ctx context.Context, c *call) (any, error) {
	rule, err := a.rule(ctx, c)
	return map[string][]pushrule.Action{"actions": rule.Actions}, err
}

// putRule answers PUT …/{kind}/{ruleId}.
func (a *api) putRule(ctx context.Context, c *call) (any, error) {
	name, err := c.ruleName()
	if err != nil {
		return nil, err
	}
	if err := request.CheckOwn(name); err != nil {
		return nil, err
	}
	at, err := request.ParsePlace(c.request.URL.Query(), name)
	if err != nil {
		return nil, err
	}
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	rule, err := request.ParseRule(body, name)
	if err != nil {
		return nil, err
	}
	return struct{}{}, a.store.PutRule(ctx, c.identity.UserID, name, rule, at)
}

// putRuleEnabled answers PUT …/{kind}/{ruleId}/enabled.
func (a *api) putRuleEnabled(ctx context.Context, c *call) (any, error) {
	return a.changeRule(ctx, c, func(f *request.Fields) pushrule.Change {
		enabled := f.RequiredFlag("enabled")
		return pushrule.Change{Enabled: &enabled}
	})
}

// putRuleActions answers PUT …/{kind}/{ruleId}/actions.
func (a *api) putRuleActions(ctx context.Context, c *call) (any, error) {
	return a.changeRule(ctx, c, func(f *request.Fields) pushrule.Change {
		return pushrule.Change{Actions: f.Actions()}
	})
}

func (a *api) changeRule(ctx context.Context, c *call, parse func(*request.Fields) pushrule.Change) (any, error) {
	name, err := c.ruleName()
	if err != nil {
		return nil, err
	}
	f, err := c.fields()
	if err != nil {
		return nil, err
	}
	change := parse(f)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return struct{}{}, a.store.ChangeRule(ctx, c.identity.UserID, name, change)
}

// deleteRule answers DELETE …/{kind}/{ruleId}.
func (a *api) deleteRule(ctx context.Context, c *call) (any, error) {
	name, err := c.ruleName()
	if err != nil {
		return nil, err
	}
	return struct{}{}, a.store.DeleteRule(ctx, c.identity.UserID, name)
}

// copyDeviceRules answers POST pushrules/device/{instanceHandle}/copy. A client whose
// app data was copied, and that therefore shares its handle with another, chooses a new
// handle and keeps its rules.
func (a *api) copyDeviceRules(ctx context.Context, c *call) (any, error) {
	from, err := c.scope()
	if err != nil {
		return nil, err
	}
	f, err := c.fields()
	if err != nil {
		return nil, err
	}
	to := f.Text("instance_handle")
	chars := utf8.RuneCountInString(to)
	f.Want(chars >= 1 && chars <= request.MaxHandleChars, "instance_handle", fmt.Sprintf("must have 1 to %d characters", request.MaxHandleChars))
	if err := f.Err(); err != nil {
		return nil, err
	}
	return struct{}{}, a.store.CopyRules(ctx, c.identity.UserID, from, to)
}
