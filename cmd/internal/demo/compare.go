package demo

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// clockSlack is how far from now a time may be to count as now.
const clockSlack = time.Hour

// mask replaces a valid count and a valid time of a poke by anyCount and anyTime, so that
// the poke can be compared with the expected body.
func (a *arrival) mask() {
	notification, _ := a.tree["notification"].(map[string]any)
	n := &a.Notification
	least := 1 // the event itself
	if a.isBadge() {
		least = 0
	}
	if counts, ok := notification["counts"].(map[string]any); ok && n.Counts.Unread != nil && *n.Counts.Unread >= least {
		counts["unread"] = anyCount
	}
	devices, _ := notification["devices"].([]any)
	for i, device := range devices {
		device, ok := device.(map[string]any)
		if ok && a.At.Sub(time.Unix(n.Devices[i].PushkeyTS, 0)).Abs() < clockSlack {
			device["pushkey_ts"] = anyTime
		}
	}
}

// differences returns the paths of the members in which two JSON values differ.
func differences(path string, want, have any) []string {
	if reflect.DeepEqual(want, have) {
		return nil
	}
	switch want := want.(type) {
	case map[string]any:
		if have, ok := have.(map[string]any); ok {
			return memberDifferences(path, want, have)
		}
	case []any:
		if have, ok := have.([]any); ok && len(want) == 1 && len(have) == 1 {
			return differences(path, want[0], have[0])
		}
	}
	return []string{strings.TrimPrefix(path, ".notification.")}
}

func memberDifferences(path string, want, have map[string]any) []string {
	keys := maps.Clone(want)
	maps.Copy(keys, have)
	var all []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		all = append(all, differences(path+"."+key, member(want, key), member(have, key))...)
	}
	return all
}

// member returns a member of an object. An absent member differs from null.
func member(object map[string]any, key string) any {
	if value, ok := object[key]; ok {
		return value
	}
	return json.Number("absent") // no number is written like this
}
