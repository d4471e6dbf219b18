package page

import (
	"fmt"
	"strings"
	"time"

	"poked/cmd/internal/operate"
	"poked/dispatcher/poke"
	"poked/events"
)

// level is how good or bad a state is. It is also the class of its colour.
type level string

// The levels, from the best to the worst.
const (
	good  level = "good"
	quiet level = "quiet" // neither good nor bad
	warn  level = "warn"
	bad   level = "bad"
)

func (l level) rank() int {
	return map[level]int{good: 0, quiet: 1, warn: 2, bad: 3}[l]
}

// state is a state in a word, with a sentence that explains it.
type state struct {
	Level  level
	Word   string
	Detail string
}

// manyErrors is the error rate from which on a gateway that is not down is called unreliable.
const manyErrors = 0.2

// gatewayState returns the state of a gateway in words.
func gatewayState(g *events.GatewayState, now time.Time) state {
	switch g.State {
	case events.GatewayOpen:
		return state{bad, "down", "poked sends one probe at a time, the next " + soon(g.NextProbe, now) + "."}
	case events.GatewayProbing:
		return state{bad, "down", "a probe is in flight."}
	case events.GatewayPaused:
		return state{warn, "paused", "it asked poked to wait (Retry-After), and gets requests again " + soon(g.PausedUntil, now) + "."}
	case events.GatewayCapacity:
		return state{warn, "late", "it works, but its dispatcher has more to send than it can: add a dispatcher."}
	case events.GatewayRecovering:
		return state{warn, "recovering", "it works again, and gets more and more requests at a time."}
	case events.GatewayClosed:
	}
	if g.ErrorRate >= manyErrors {
		return state{warn, "unreliable", "many requests fail, not enough in a row to call it down."}
	}
	return state{good, "works", ""}
}

// soon returns when something will happen.
func soon(at, now time.Time) string {
	if !at.After(now) {
		return "now"
	}
	return operate.Relative(at, now)
}

// pusherState returns the state of a pusher in words.
func pusherState(p *events.PusherState, now time.Time) state {
	switch p.State {
	case events.PusherIdle:
		return state{good, "up to date", "nothing waits."}
	case events.PusherBusy:
		return state{good, "delivering", "a poke is on its way."}
	case events.PusherRefused:
		if p.LastError == poke.ClassGone.String() {
			return state{bad, "retired", "its gateway was gone for longer than --retire-after: the registry removes the pusher."}
		}
		return state{bad, "rejected", "its gateway rejected the pushkey: the registry removes the pusher."}
	}
	return laggingState(p, now)
}

// laggingState returns why a pusher waits. Because is a class of failure.
func laggingState(p *events.PusherState, now time.Time) state {
	again := "The next try is " + soon(p.NextTry, now) + "."
	switch p.Because {
	case "active":
		return state{quiet, "held back", "the user is reading on another device. " + again}
	case "gateway_down":
		return state{bad, "waiting", "its gateway is down. It goes on when the gateway works again."}
	case "paused":
		return state{warn, "waiting", "its gateway asked poked to wait (Retry-After). " + again}
	case "slow", "behind":
		return state{warn, "behind", "its gateway is slower than notifications arrive. It catches up by itself."}
	case "stopped", "record", "moved", "nats":
		return state{warn, "catching up", "it goes on after a restart or a change. " + again}
	}
	tries := ""
	if p.Attempts > 0 {
		tries = fmt.Sprintf(", %s in a row", count(p.Attempts, "try", "tries"))
	}
	return state{bad, "failing", operate.Failure(p.Because) + tries + ". " + again}
}

// count returns a number with its noun.
func count[T int | int64 | uint64](n T, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(uint64(max(n, 0))) + " " + many
}

// sentence returns a text with a capital letter. The name of the program has none.
func sentence(text string) string {
	if text == "" || strings.HasPrefix(text, "poked ") {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
