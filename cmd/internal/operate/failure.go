package operate

import "strings"

// Failure returns in words why a try failed: the name of a class of failures, or http_ and the
// status, as the lists of pushers and gateways have it.
func Failure(name string) string {
	if status, ok := strings.CutPrefix(name, "http_"); ok && !strings.HasSuffix(status, "xx") {
		return "the gateway answers HTTP " + status
	}
	if text, known := failures()[name]; known {
		return text
	}
	return name
}

// failures returns what the names of classes mean: see package poke.
func failures() map[string]string {
	return map[string]string{
		"": "", "ok": "nothing failed", "other": "it failed in a way that this version does not know",
		"rejected": "the gateway rejected the pushkey", "gateway_gone": "the gateway has been gone for longer than --retire-after",
		"http_1xx": "the gateway answers with an HTTP status that is no answer", "http_3xx": "the gateway redirects, which poked does not follow",
		"http_4xx": "the gateway refuses the request", "http_5xx": "the gateway fails",
		"body_too_large": "the answer of the gateway is too large", "headers_too_large": "the answer of the gateway has too many headers",
		"not_http": "what answers does not speak HTTP",
		"timeout":  "the gateway does not answer in time", "refused": "nobody accepts connections at the gateway",
		"reset": "the gateway breaks connections off", "dns": "the name of the gateway cannot be resolved",
		"network": "the network does not reach the gateway", "tls": "the certificate or TLS of the gateway is not accepted",
		"blocked_address": "the address of the gateway is not allowed (--gateway-allow, --gateway-deny)",
		"refused_url":     "the URL of the gateway is not allowed (--gateway-allow, --gateway-allow-http)",
		"expired":         "the poke was older than its time to live", "skipped": "an operator put the poke aside",
		"ring_over": "the call was over", "do_not_disturb": "the user wants no pokes about the room for now",
		"paused": "the gateway asked poked to wait", "gateway_down": "the gateway is down",
		"moved": "the pusher has another gateway since", "nats": "NATS could not be read or written",
		"slow": "the gateway takes too long", "behind": "notifications arrive faster than the gateway answers",
		"active": "the user is reading on another device", "stopped": "the dispatcher was stopped",
		"vapid_refused": "the push service does not accept this server's key for the subscription (VAPID)",
		"no_vapid_key":  "the registry has not published the key for browsers yet (VAPID)",
		"record":        "the record of the backlog could not be read",
	}
}
