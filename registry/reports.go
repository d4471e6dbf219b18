package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/publish"
	"poked/events/stream"
	"poked/events/wait"
	"poked/registry/auth"
)

// Some homeservers send no receipts, or no redactions, to application services, and none tells
// them which rooms a user has marked as unread, or to which threads a user is subscribed. If a reverse
// proxy sends these requests here, they are forwarded to the homeserver, and what it has
// accepted is published as if it had sent it:
//
//	client ──receipt, read_markers, redact, marked_unread, subscription──▶ forward ──2xx──▶ publish ──▶ ROOMS
//	                                                                                           └─fails─▶ queue, retried
//
// Nothing is published that the homeserver has not confirmed. If its answer is lost, the
// client gets 502 and sends the request again, which homeservers execute once. A homeserver
// that sends the same does no harm: a redaction has the id of its event, and a receipt says
// how far somebody has read.

const (
	// reportsWaiting is how many reports wait in memory while NATS is away.
	reportsWaiting = 4096
	// reportTry bounds one attempt to publish a report, for which the client waits.
	reportTry = time.Second
)

// reporter returns what a request says that the homeserver has executed: an m.receipt EDU, a
// redaction event, a mark or a subscription, or nil if it says nothing of interest. body is the client's.
type reporter func(c *call, body, answer []byte) any

// Reports counts what clients reported by way of the registry.
type Reports struct {
	Published uint64
	Lost      uint64 // more than reportsWaiting waited, or the registry stopped
	Waiting   int
}

// reports publishes reports. A report that cannot be published waits in memory.
type reports struct {
	publisher *publish.Publisher
	log       *slog.Logger
	queue     chan any

	waiting         atomic.Int64 // in the queue, or being retried
	published, lost atomic.Uint64
}

func newReports(conn *stream.Conn, log *slog.Logger) *reports {
	return &reports{publisher: publish.NewPublisher(conn), log: log, queue: make(chan any, reportsWaiting)}
}

// reporting publishes what a request reports.
func (a *api) reporting(read reporter) watcher {
	return func(ctx context.Context, c *call, answer *homeserver.Answer) {
		if c.request.URL.Query().Has("user_id") {
			return // an application service acts for somebody else than the token's owner
		}
		if c.identity.UserID == "" { // asking failed before, and the token has turned out to be good
			var err error
			if c.identity, err = auth.Authenticate(ctx, a.auth, c.request); err != nil {
				a.log.Warn("a receipt or redaction is not published: its sender is not known", "path", c.path, "error", err)
				return
			}
		}
		body, err := c.body()
		if err != nil {
			return // not possible: it was sent to the homeserver
		}
		if report := read(c, body, answer.Body); report != nil {
			a.reports.take(ctx, report)
		}
	}
}

// take publishes a report, or queues it for later.
func (r *reports) take(ctx context.Context, report any) {
	if r.waiting.Load() == 0 { // else NATS is away, and the client need not wait to find out
		if err := r.publish(ctx, report); err == nil || errors.Is(err, events.ErrBadEvent) {
			return
		}
	}
	r.waiting.Add(1)
	select {
	case r.queue <- report:
	default:
		r.waiting.Add(-1)
		if r.lost.Add(1) == 1 {
			r.log.Error("too many receipts and redactions wait for nats, some are lost", "limit", reportsWaiting)
		}
	}
}

// run publishes what waits, until ctx ends.
func (r *reports) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			if n := r.waiting.Load(); n > 0 {
				r.lost.Add(uint64(n))
				r.log.Warn("receipts and redactions that waited for nats are lost", "count", n)
			}
			return nil
		case report := <-r.queue:
			err := wait.Until(ctx, wait.RetryPause, r.failed, func() error {
				err := r.publish(ctx, report)
				if errors.Is(err, events.ErrBadEvent) {
					return backoff.Permanent(err)
				}
				return err
			})
			if ctx.Err() == nil || err == nil {
				r.waiting.Add(-1)
			}
		}
	}
}

func (r *reports) failed(err error) {
	r.log.Warn("receipts and redactions of clients wait for nats", "error", err)
}

// publish publishes a report once. An error that wraps [events.ErrBadEvent] means that it
// never can be: its ids are longer than the specification allows.
func (r *reports) publish(ctx context.Context, report any) error {
	ctx, cancel := context.WithTimeout(ctx, reportTry)
	defer cancel()
	err := r.send(ctx, report)
	switch {
	case err == nil:
		r.published.Add(1)
	case errors.Is(err, events.ErrBadEvent):
		r.log.Warn("a receipt or redaction of a client cannot be used", "error", err)
	}
	return err
}

func (r *reports) send(ctx context.Context, report any) error {
	switch report := report.(type) {
	case mark:
		return r.publisher.MarkedUnread(ctx, report.room, report.user, report.unread) //nolint:wrapcheck // it names what was published
	case events.ThreadSubscription:
		return r.publisher.ThreadSubscription(ctx, report) //nolint:wrapcheck // it names what was published
	}
	raw, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("%w: encode report: %w", events.ErrBadEvent, err)
	}
	if _, isReceipt := report.(receiptEDU); isReceipt {
		return r.publisher.Receipt(ctx, raw) //nolint:wrapcheck // it names what was published
	}
	return r.publisher.Event(ctx, raw, publish.Reported()) //nolint:wrapcheck // it names what was published
}

func (r *reports) snapshot() Reports {
	return Reports{Published: r.published.Load(), Lost: r.lost.Load(), Waiting: int(r.waiting.Load())}
}

// receiptEDU is an m.receipt EDU of one room (Matrix specification, section "Receipts").
type receiptEDU struct {
	Type    string                                                      `json:"type"`
	RoomID  string                                                      `json:"room_id"`
	Content map[string]map[receiptKind]map[events.UserID]map[string]any `json:"content"`
}

// receiptKind is a kind of receipt.
type receiptKind string

// The kinds of receipts that say what has been read. m.fully_read marks a place in the
// timeline, and changes no count.
const (
	readReceipt    receiptKind = "m.read"
	privateReceipt receiptKind = "m.read.private"
)

// edu returns the EDU of receipts of the client, by the event up to which each reads.
func (c *call) edu(upTo map[receiptKind]string, thread string, cleared bool) any {
	edu := receiptEDU{Type: "m.receipt", RoomID: c.params["roomId"], Content: map[string]map[receiptKind]map[events.UserID]map[string]any{}}
	data := map[string]any{"ts": time.Now().UnixMilli()}
	if thread != "" {
		data["thread_id"] = thread
	}
	if cleared {
		data[events.ClearedNotifs] = true
	}
	for kind, event := range upTo {
		if event == "" {
			continue
		}
		if edu.Content[event] == nil {
			edu.Content[event] = map[receiptKind]map[events.UserID]map[string]any{}
		}
		edu.Content[event][kind] = map[events.UserID]map[string]any{c.identity.UserID: data}
	}
	if len(edu.Content) == 0 {
		return nil
	}
	return edu
}

// receiptOf reads "POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}"
// (client-server API, "Receipts").
func receiptOf(c *call, body, _ []byte) any {
	kind := receiptKind(c.params["receiptType"])
	if kind != readReceipt && kind != privateReceipt {
		return nil
	}
	return c.edu(map[receiptKind]string{kind: c.params["eventId"]}, textIn(body, "thread_id"), events.ClearsNotifs(gjson.ParseBytes(body)))
}

// markersOf reads "POST /_matrix/client/v3/rooms/{roomId}/read_markers" (client-server API,
// "Fully read markers"), whose receipts have no thread.
func markersOf(c *call, body, _ []byte) any {
	return c.edu(map[receiptKind]string{
		readReceipt: textIn(body, string(readReceipt)), privateReceipt: textIn(body, string(privateReceipt)),
	}, "", false)
}

// redactionOf reads "PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}"
// (client-server API, "Redactions"). The homeserver answers with the id of the redaction. What
// it redacts stands in both places that room versions know.
func redactionOf(c *call, body, answer []byte) any {
	id, target := textIn(answer, "event_id"), c.params["eventId"]
	if id == "" {
		return nil
	}
	content := map[string]any{"redacts": target}
	if reason := textIn(body, "reason"); reason != "" {
		content["reason"] = reason
	}
	return map[string]any{
		"type": "m.room.redaction", "room_id": c.params["roomId"], "event_id": id, "sender": c.identity.UserID,
		"origin_server_ts": time.Now().UnixMilli(), "redacts": target, "content": content,
	}
}

// mark is that a user marked a room as unread, or took that back.
type mark struct {
	room   events.RoomID
	user   events.UserID
	unread bool
}

// markOf reads "PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}" with the
// type m.marked_unread (client-server API, "Unread markers"), or that of its proposal, MSC2867.
func markOf(c *call, body, _ []byte) any {
	if kind := c.params["type"]; kind != events.TypeMarkedUnread && kind != "com.famedly.marked_unread" || c.params["userId"] != string(c.identity.UserID) {
		return nil
	}
	return mark{events.RoomID(c.params["roomId"]), c.identity.UserID, gjson.GetBytes(body, "unread").Type == gjson.True}
}

// subscriptionOf reads "PUT" or "DELETE
// /_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{threadId}/subscription". An automatic
// subscription that the homeserver refuses, since the user has unsubscribed after its cause, has no 2xx.
func subscriptionOf(subscribed bool) reporter {
	return func(c *call, _, _ []byte) any {
		return events.ThreadSubscription{
			RoomID: events.RoomID(c.params["roomId"]), Thread: events.EventID(c.params["threadId"]), UserID: c.identity.UserID, Subscribed: subscribed,
		}
	}
}

// textIn returns the string under a key of a JSON object, "" if it has none.
func textIn(raw []byte, key string) (text string) {
	if !gjson.ValidBytes(raw) {
		return ""
	}
	gjson.ParseBytes(raw).ForEach(func(k, value gjson.Result) bool { // a path would split m.read
		if k.Str == key && value.Type == gjson.String {
			text = value.Str
		}
		return true
	})
	return text
}
