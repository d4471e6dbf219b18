package natstest

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// pendingFault is a fault that waits for its message.
type pendingFault struct {
	subject string // prefix
	fault   Fault
	met     bool
}

// Break makes the next message whose subject begins with subject meet a fault. happened
// reports whether one has.
func (l *Link) Break(subject string, fault Fault) (happened func() bool) {
	f := &pendingFault{subject: subject, fault: fault}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, f)
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return f.met
	}
}

// Spare removes the faults that no message has met yet.
func (l *Link) Spare() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = slices.DeleteFunc(l.faults, func(f *pendingFault) bool { return !f.met })
}

// Refuse makes the server refuse this many messages whose subject begins with subject.
func (l *Link) Refuse(subject string, times int) {
	for range times {
		l.Break(subject, Refuse)
	}
}

// Behind makes a replica without any messages answer the direct reads of a stream, until
// the next call. "" means no stream.
func (l *Link) Behind(stream string) {
	l.server.raw(func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: behind, AllowDirect: true})
		return err
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behind, l.upTo = stream, 0
}

// BehindAt makes a replica that has a stream up to a sequence answer requests for the newest
// messages of subjects, until the next call of it or of [Link.Behind].
func (l *Link) BehindAt(stream string, upTo uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behind, l.upTo = stream, upTo
}

// asOf returns a message to the server, with the sequence up to which the replica has the stream,
// if the message is a request for newest messages.
func (l *Link) asOf(op []byte, subject string) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	head, payload, _ := bytes.Cut(op, []byte("\r\n"))
	const newest = `{"multi_last":`
	if l.upTo == 0 || subject != directGet+l.behind || !bytes.HasPrefix(payload, []byte(newest)) {
		return op
	}
	more := `{"up_to_seq":` + strconv.FormatUint(l.upTo, 10) + `,`
	words := strings.Fields(string(head))
	words[len(words)-1] = strconv.Itoa(len(payload) - len("\r\n") + len(more) - len("{"))
	return append([]byte(strings.Join(words, " ")+"\r\n"+more), payload[1:]...)
}

const (
	behind    = "BEHIND"
	directGet = "$JS.API.DIRECT.GET."
)

// replica returns the subject to which a message to the server is sent.
func (l *Link) replica(subject string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	stream, by, _ := strings.Cut(strings.TrimPrefix(subject, directGet), ".")
	switch {
	case l.behind == "" || l.upTo > 0 || !isOf(stream, l.behind) || !strings.HasPrefix(subject, directGet):
		return subject
	case by == "":
		return directGet + behind
	}
	return directGet + behind + "." + by
}

// Drop makes the next message from the server whose subject begins with subject
// disappear.
func (l *Link) Drop(subject string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drops = append(l.drops, subject)
}

// meet returns the fault that a message to the server meets, or 0.
func (l *Link) meet(subject string) Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.HasPrefix(subject, "$JS.API.") {
		l.asked[subject]++
	}
	for _, f := range l.faults {
		if !f.met && strings.HasPrefix(subject, f.subject) {
			f.met = true
			return f.fault
		}
	}
	return 0
}

// drop reports whether a message from the server gets lost.
func (l *Link) drop(subject string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, prefix := range l.drops {
		if strings.HasPrefix(subject, prefix) {
			l.drops = append(l.drops[:i], l.drops[i+1:]...)
			return true
		}
	}
	return false
}
