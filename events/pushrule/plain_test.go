package pushrule

import (
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// This file is the reference evaluator for the comparison tests: the text of the specification, sentence by sentence,
// without regard to speed. It shares no code with the evaluator that it checks.

// plainQuestion is everything that an evaluation depends on.
type plainQuestion struct {
	ruleset any // decoded JSON
	event   any // decoded JSON
	room    Room
	user    User
	// subscribed is nil outside threads.
	subscribed func(userID string) bool
}

// plainAnswer is the rule that matched, "" if none did.
type plainAnswer struct {
	ruleID string
	notify bool
	tweaks map[string]any
}

func (q plainQuestion) evaluate() plainAnswer {
	if sender, ok := q.property("sender").(string); ok && sender != "" && sender == q.user.ID {
		return plainAnswer{}
	}
	for _, kind := range []string{"override", "content", "postcontent", "room", "sender", "underride"} {
		rules, _ := at(q.ruleset, kind).([]any)
		for group := range 3 {
			for _, rule := range rules {
				if plainGroup(kind, rule) == group && at(rule, "enabled") == true && q.matches(kind, rule) {
					return plainActions(rule)
				}
			}
		}
	}
	return plainAnswer{}
}

// plainGroup is 0 for the master rule, 1 for the user's own rules, 2 for predefined ones.
func plainGroup(kind string, rule any) int {
	id := at(rule, "rule_id").(string)
	switch {
	case kind == "override" && id == ".m.rule.master":
		return 0
	case at(rule, "default") == true || strings.HasPrefix(id, "."):
		return 2
	}
	return 1
}

func plainActions(rule any) plainAnswer {
	answer := plainAnswer{ruleID: at(rule, "rule_id").(string), tweaks: map[string]any{}}
	actions, _ := at(rule, "actions").([]any)
	for _, action := range actions {
		if action == "notify" {
			answer.notify = true
		}
		name, isTweak := at(action, "set_tweak").(string)
		value := at(action, "value")
		if isTweak && name == "highlight" && value == nil {
			value = true
		}
		_, isBool := value.(bool)
		if isTweak && value != nil && (name != "highlight" || isBool) {
			answer.tweaks[name] = value
		}
	}
	if answer.tweaks["highlight"] == false {
		delete(answer.tweaks, "highlight")
	}
	return answer
}

func (q plainQuestion) matches(kind string, rule any) bool {
	id := at(rule, "rule_id").(string)
	switch id {
	case ".m.rule.contains_display_name", ".m.rule.contains_user_name", ".m.rule.roomnotif":
		if content, _ := q.property("content").(map[string]any); content["m.mentions"] != nil {
			return false
		}
	}
	switch kind {
	case "content":
		pattern, ok := at(rule, "pattern").(string)
		return ok && q.eventMatch("content.body", pattern)
	case "room":
		return q.property("room_id") == id
	case "sender":
		return q.property("sender") == id
	}
	conditions, _ := at(rule, "conditions").([]any)
	for _, condition := range conditions {
		if !q.holds(condition) {
			return false
		}
	}
	return true
}

func (q plainQuestion) holds(condition any) bool {
	key, _ := at(condition, "key").(string)
	pattern, hasPattern := at(condition, "pattern").(string)
	value := at(condition, "value")
	switch at(condition, "kind") {
	case "event_match":
		return hasPattern && q.eventMatch(key, pattern)
	case "event_property_is":
		return plainComparable(value) && q.exists(key) && q.property(key) == value
	case "event_property_contains":
		elements, _ := q.property(key).([]any)
		return plainComparable(value) && slices.ContainsFunc(elements, func(e any) bool {
			return plainComparable(e) && e == value
		})
	case "contains_display_name":
		body, ok := q.property("content.body").(string)
		return ok && q.user.DisplayName != "" && plainWords(q.user.DisplayName, body, false)
	case "room_member_count":
		is, _ := at(condition, "is").(string)
		return plainCount(is, q.room.MemberCount)
	case "sender_notification_permission":
		needed, ok := q.room.NotificationLevels[key]
		if !ok {
			needed = 50
		}
		return q.room.SenderIsCreator || q.room.SenderLevel >= needed
	case "org.matrix.msc4506.recipient_permission":
		if q.room.Levels == nil {
			return false
		}
		needed, known := map[string]int64{
			"invite": q.room.Levels.Invite, "kick": q.room.Levels.Kick, "ban": q.room.Levels.Ban, "redact": q.room.Levels.Redact,
		}[key]
		level, unlimited := q.room.LevelOf(q.user.ID)
		return known && (unlimited || level >= needed)
	case "io.element.msc4306.thread_subscription":
		subscribed, ok := at(condition, "subscribed").(bool)
		return ok && q.subscribed != nil && subscribed == q.subscribed(q.user.ID)
	}
	return false
}

func (q plainQuestion) eventMatch(key, pattern string) bool {
	text, ok := q.property(key).(string)
	if !ok {
		return false
	}
	if key != "content.body" {
		return plainGlob(pattern, text)
	}
	return plainWords(pattern, text, true)
}

// plainWords tries every part of the text between two word boundaries.
func plainWords(pattern, s string, wildcards bool) bool {
	text := []rune(s)
	word := func(i int) bool {
		return 0 <= i && i < len(text) && strings.ContainsRune(
			"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_", text[i])
	}
	boundary := func(i int) bool { return !word(i-1) || !word(i) }
	for i := 0; i <= len(text); i++ {
		if !boundary(i) {
			continue
		}
		for length, matches := range plainLengths(pattern, text[i:], wildcards) {
			if matches && boundary(i+length) {
				return true
			}
		}
	}
	return false
}

func plainGlob(pattern, s string) bool {
	text := []rune(s)
	return plainLengths(pattern, text, true)[len(text)]
}

// plainLengths returns for each length whether the pattern matches the text's prefix of that length. It processes the
// pattern one character at a time.
func plainLengths(pattern string, text []rune, wildcards bool) []bool {
	lengths := make([]bool, len(text)+1)
	lengths[0] = true
	for _, p := range pattern {
		next := make([]bool, len(text)+1)
		for n := range next {
			switch {
			case wildcards && p == '*':
				next[n] = lengths[n] || n > 0 && next[n-1]
			case n > 0:
				next[n] = lengths[n-1] && (wildcards && p == '?' || plainEqual(p, text[n-1]))
			}
		}
		lengths = next
	}
	return lengths
}

// plainEqual reports whether two characters differ only in case.
func plainEqual(a, b rune) bool {
	return (a <= unicode.MaxASCII) == (b <= unicode.MaxASCII) && strings.EqualFold(string(a), string(b))
}

func plainComparable(value any) bool {
	switch value := value.(type) {
	case nil, bool, string:
		return true
	case json.Number:
		number, err := strconv.ParseInt(value.String(), 10, 64)
		return err == nil && -1<<53 < number && number < 1<<53
	}
	return false
}

func plainCount(is string, count int) bool {
	for _, prefix := range []string{"==", "<=", ">=", "<", ">", ""} {
		digits, ok := strings.CutPrefix(is, prefix)
		if !ok || digits == "" || strings.Trim(digits, "0123456789") != "" {
			continue
		}
		number, _ := new(big.Int).SetString(digits, 10)
		order := big.NewInt(int64(count)).Cmp(number)
		return map[string]bool{
			"": order == 0, "==": order == 0, "<": order < 0, ">": order > 0, "<=": order <= 0, ">=": order >= 0,
		}[prefix]
	}
	return false
}

// property returns the value at a dotted path, nil if there is none.
func (q plainQuestion) property(path string) any {
	value, _ := q.lookup(path)
	return value
}

func (q plainQuestion) exists(path string) bool {
	_, ok := q.lookup(path)
	return ok
}

func (q plainQuestion) lookup(path string) (value any, ok bool) {
	const dot, backslash = "\x00", "\x01" // placeholders for escaped characters
	path = strings.ReplaceAll(strings.ReplaceAll(path, `\\`, backslash), `\.`, dot)
	value = q.event
	for name := range strings.SplitSeq(path, ".") {
		object, isObject := value.(map[string]any)
		if !isObject {
			return nil, false
		}
		name = strings.ReplaceAll(strings.ReplaceAll(name, dot, "."), backslash, `\`)
		if value, ok = object[name]; !ok {
			return nil, false
		}
	}
	return value, true
}

// at returns a member of a decoded object, nil if there is none.
func at(value any, name string) any {
	object, _ := value.(map[string]any)
	return object[name]
}
