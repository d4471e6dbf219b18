package page

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"golang.org/x/time/rate"

	"poked/cmd/internal/operate"
	"poked/events/operator"
	"poked/events/stream"
)

// maxCounted is how many dead letters a confirmation counts and checks.
const maxCounted = 500

// errCounted ends the counting of dead letters.
var errCounted = errors.New("enough were counted")

// planDead returns the plan of work on dead letters.
func planDead(work operate.DeadWork) func(context.Context, *stream.Conn, url.Values, *frame) (*plan, error) {
	return func(ctx context.Context, conn *stream.Conn, form url.Values, f *frame) (*plan, error) {
		chosen := deadFilterOf(form)
		filter, err := chosen.filter(f.Now)
		switch {
		case err != nil:
			return nil, err
		case !chosen.Narrows() && form.Get("all") == "":
			return nil, badInput("This would select every dead letter. Choose some, or all on the page of dead letters.")
		}
		client := operator.NewClient(conn)
		var counted operate.DeadSummary
		_, err = operate.FindDead(ctx, client, filter, 0, func(letter operator.StoredDeadLetter) error {
			if counted.Found == maxCounted {
				return errCounted
			}
			counted.Found++
			return counted.Count(work.Check(client, ctx, letter))
		})
		more := errors.Is(err, errCounted)
		if err != nil && !more {
			return nil, err
		}
		p := &plan{Back: "/dead?" + chosen.Query(), Empty: counted.Found == 0}
		if chosen.Seq != "" {
			p.Back = "/dead"
		}
		if p.Empty {
			p.What, p.Will = sentence(work.Doing)+" "+chosen.words(), []string{"No dead letter matches."}
			return p, nil
		}
		p.describe(work, &counted, more, chosen)
		return p, nil
	}
}

// describe says what will happen to the letters.
func (p *plan) describe(work operate.DeadWork, counted *operate.DeadSummary, more bool, chosen deadFilter) {
	found := count(counted.Found, "dead letter is", "dead letters are")
	if more {
		found = "More than " + found
	}
	p.Will = []string{sentence(found) + " selected: " + chosen.words() + "."}
	if work.Done == operate.DropDead().Done {
		p.What, p.Button, p.Danger = "Drop "+chosen.words(), "Drop them", true
		p.Will = append(p.Will, "They are deleted. That cannot be undone.")
		return
	}
	p.What, p.Button = "Retry "+chosen.words(), "Retry them"
	p.Will = append(p.Will,
		"A poke becomes a new notification for its device alone, and the phone may ring late for it. A message that could not be read is published again.",
		"Each letter is deleted once that is stored. If this is interrupted, nothing is lost, but a device may be poked twice.")
	if counted.Refused > 0 {
		p.Will = append(p.Will, sentence(count(counted.Refused, "of them cannot be tried again and stays", "of them cannot be tried again and stay"))+
			": the pusher is gone, the message was too long to keep, or its room has newer state.")
	}
}

// doDead works on dead letters.
func doDead(work operate.DeadWork) func(context.Context, *stream.Conn, url.Values, func(done, all int)) (state, string) {
	return func(ctx context.Context, conn *stream.Conn, form url.Values, progress func(done, all int)) (state, string) {
		filter, err := deadFilterOf(form).filter(time.Now())
		if err != nil {
			return failed(err)
		}
		client := operator.NewClient(conn)
		var s operate.DeadSummary
		seqs, err := operate.FindDead(ctx, client, filter, 0, func(operator.StoredDeadLetter) error { s.Found++; return nil })
		if err != nil {
			return failed(err)
		}
		if len(seqs) == 0 {
			return nothing("No dead letter matches any more.")
		}
		at := 0
		progress(at, len(seqs))
		err = work.Run(ctx, client, seqs, rate.NewLimiter(rate.Inf, 0), &s, func(error) {
			at++
			progress(at, len(seqs))
		})
		text := sentence(s.Text(work)) + "."
		switch {
		case err != nil:
			return state{bad, "failed", ""}, fmt.Sprintf("%s It ended early: %s.", text, explain(err))
		case s.Refused > 0:
			return state{warn, "done in part", ""}, text
		}
		return done(text)
	}
}
