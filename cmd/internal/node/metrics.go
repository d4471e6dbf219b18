package node

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"poked/dispatcher"
	"poked/dispatcher/deliver"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/bridge"
	"poked/events/stream"
	"poked/registry"
)

// Metrics for Prometheus. Nothing is counted here: each scrape reads the state of the
// roles. The number of label values does not grow with users, rooms or gateways: outcome,
// class and reason are closed enumerations, there are six states, fourteen streams and three
// stages, partition is below --partitions, and a path is a template of the API. What is
// counted is there from the start, at zero, so that alerts see the first of its kind.

// series returns the description of a metric.
func series(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("poked_"+name, help, labels, nil)
}

// scrape receives the metrics of one scrape.
type scrape chan<- prometheus.Metric

func (s scrape) gauge(desc *prometheus.Desc, value float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

func (s scrape) counter(desc *prometheus.Desc, value uint64, labels ...string) {
	s <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
}

func yesNo(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// dispatcherMetrics collects the metrics of a dispatcher.
type dispatcherMetrics struct {
	health func() dispatcher.Health

	roomEvents, notifications, suppressed, tries, latency, oldest, lagging, passedOver, gap, deadPokes, skipped, gateways, owned, waiting, open, limited, behind, delay *prometheus.Desc
}

func newDispatcherMetrics(health func() dispatcher.Health) *dispatcherMetrics {
	return &dispatcherMetrics{
		health:        health,
		roomEvents:    series("room_events_total", "Room events for which poked has decided who is notified."),
		notifications: series("notifications_total", "Notifications stored: one for each event and user that it notifies."),
		suppressed:    series("suppressed_total", "Users with a pusher whom a room event did not notify, by reason. Events that notify nobody whatever the rules say (repeated, historical, redacted) count once.", "reason"),
		tries:         series("pokes_total", "Attempts to deliver a poke, by outcome and by the reason of a failure (class). With outcome paused, expired or skipped nothing was sent.", "outcome", "class"),
		latency:       series("poke_latency_seconds", "Time from storing a room event to delivering its poke, in seconds."),
		oldest:        series("oldest_undelivered_seconds", "Age of the oldest undelivered notification, in seconds; 0 if there is none."),
		lagging:       series("pushers_lagging", "Pushers with a backlog."),
		passedOver:    series("notifications_passed_over_total", "Notifications skipped for a newer one of the same room, while a pusher was catching up."),
		gap:           series("accounting_gap", "Self-check: how many notifications should be waiting by the books, minus how many are. 0 when idle; anything else for long is a bug."),
		deadPokes:     series("dead_pokes_total", "Pokes that became dead letters: older than the time to live (expired), refused by a gateway that took others (refused), or put aside by an operator (skipped).", "reason"),
		skipped:       series("dead_messages_total", "Messages that became dead letters because they could not be read."),
		owned:         series("partition_owned", "1 for each partition that this process works on.", "stage", "partition"),
		waiting:       series("partition_waiting_messages", "Messages of a partition that its consumer has not received yet.", "stage", "partition"),
		open:          series("partition_open_messages", "Messages of a partition that were received and are not finished.", "stage", "partition"),
		gateways:      series("gateways", "Push gateways with current activity, by state.", "state"),
		limited:       series("capacity_limited", "1 while messages or pokes are late because this process, its delivery slots or its NATS are at their limit, not a push gateway."),
		behind:        series("stage_behind_seconds", "Age of the newest message that a stage has received, while more wait for it; 0 if none does. The highest of all partitions.", "stage"),
		delay:         series("own_delay_seconds", "How late this process runs what is due because its CPU is short, the longest of the last 10 s with pokes in flight. It counts for no gateway."),
	}
}

// Describe implements prometheus.Collector.
func (m *dispatcherMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		m.roomEvents, m.notifications, m.suppressed, m.tries, m.latency, m.oldest, m.lagging, m.passedOver, m.gap, m.deadPokes, m.skipped, m.gateways, m.owned, m.waiting, m.open, m.limited, m.behind, m.delay,
	} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *dispatcherMetrics) Collect(metrics chan<- prometheus.Metric) {
	h, to := m.health(), scrape(metrics)
	to.counter(m.roomEvents, h.RoomEvents)
	to.counter(m.notifications, h.Notifications)
	for reason := events.NotSuppressed + 1; reason < events.Suppressions; reason++ {
		if reason != events.SuppressNotJoined && reason != events.SuppressNoPusher { // of whom match does not ask
			to.counter(m.suppressed, h.Suppressed[reason], reason.String())
		}
	}
	for _, t := range withUsual(h.Tries) {
		to.counter(m.tries, t.Count, t.Outcome.String(), t.Class.String())
	}
	metrics <- prometheus.MustNewConstHistogram(m.latency, h.Latency.Count, h.Latency.Sum, h.Latency.Buckets)
	oldest := 0.0
	if !h.OldestDue.IsZero() {
		oldest = max(time.Since(h.OldestDue).Seconds(), 0)
	}
	to.gauge(m.oldest, oldest)
	to.gauge(m.lagging, float64(h.Lagging))
	to.counter(m.passedOver, h.PassedOver)
	to.gauge(m.gap, float64(h.Gap))
	to.counter(m.deadPokes, h.Expired, string(events.DeadExpired))
	to.counter(m.deadPokes, h.Refused, string(events.DeadRefused))
	to.counter(m.deadPokes, h.PutAside, string(events.DeadSkipped))
	to.counter(m.skipped, h.Skipped)
	for _, state := range events.GatewayPhases() {
		to.gauge(m.gateways, float64(h.Gateways[state]), string(state))
	}
	to.gauge(m.limited, yesNo(h.Capacity.Limited))
	to.gauge(m.delay, h.Capacity.OwnDelay.Seconds())
	for stage, by := range h.Capacity.Behind {
		to.gauge(m.behind, by.Seconds(), stage)
	}
	for _, f := range h.Following {
		part := strconv.Itoa(f.Part)
		to.gauge(m.owned, 1, f.Stage, part)
		to.gauge(m.waiting, float64(f.Waiting), f.Stage, part)
		to.gauge(m.open, float64(f.Open), f.Stage, part)
	}
}

// withUsual returns tries with those added at zero that have not happened yet and usually
// do at some time.
func withUsual(tries []deliver.Tries) []deliver.Tries {
	happened := map[deliver.Tries]bool{}
	for _, t := range tries {
		happened[deliver.Tries{Outcome: t.Outcome, Class: t.Class}] = true
	}
	for outcome, classes := range map[poke.Kind][]poke.Class{
		poke.Delivered: {poke.ClassOK}, poke.Rejected: {poke.ClassRejected}, poke.Retired: {poke.ClassGone}, poke.Expired: {poke.ClassExpired}, poke.Skipped: {poke.ClassSkipped}, poke.Withheld: {poke.ClassRingOver, poke.ClassQuiet},
		poke.Retry:  {poke.ClassHTTP5xx, poke.ClassHTTP429, poke.ClassHTTP503, poke.ClassTimeout, poke.ClassRefused, poke.ClassReset, poke.ClassDNS, poke.ClassNetwork, poke.ClassVAPID},
		poke.Slow:   {poke.ClassHTTP4xx, poke.ClassHTTP3xx, poke.ClassTLS, poke.ClassBlockedAddress, poke.ClassRefusedURL, poke.ClassNotHTTP},
		poke.Paused: {poke.ClassPaused, poke.ClassGatewayDown}, poke.Refused: {poke.ClassHTTP4xx, poke.ClassHTTP5xx},
	} {
		for _, class := range classes {
			if t := (deliver.Tries{Outcome: outcome, Class: class}); !happened[t] {
				tries = append(tries, t)
			}
		}
	}
	return tries
}

// registryMetrics collects the metrics of a registry.
type registryMetrics struct {
	health func(context.Context) (registry.Health, error)

	outbox, settled, requests, whoami, held, takenOver, reports, reportsWaiting, asked *prometheus.Desc
}

func newRegistryMetrics(health func(context.Context) (registry.Health, error)) *registryMetrics {
	return &registryMetrics{
		health:  health,
		outbox:  series("outbox_rows", "Changes of pushers and push rules that are in the database and not published to NATS yet."),
		settled: series("outbox_published", "1 if the last attempt to publish all pending changes to NATS succeeded."),

		requests:  series("client_requests_total", "Requests of clients to the registry, by path below its prefix and status.", "path", "status"),
		whoami:    series("whoami_latency_seconds", "Time that the homeserver took to answer about an access token, in seconds."),
		held:      series("imported_users_waiting", "Imported users whose push rules are not fetched yet. They are not poked before."),
		takenOver: series("pushers_taken_over_total", "Pushers moved from the homeserver to the registry."),

		reports:        series("client_reports_total", "Receipts and redactions that clients sent by way of the registry, by whether they were published to NATS or lost.", "result"),
		asked:          series("browsers_asked_total", "Tokens for browsers that are to acknowledge Web Push, by whether their push service took them or not.", "result"),
		reportsWaiting: series("client_reports_waiting", "Receipts and redactions of clients that wait until NATS is back."),
	}
}

// Describe implements prometheus.Collector.
func (m *registryMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.outbox, m.settled, m.requests, m.whoami, m.held, m.takenOver, m.reports, m.reportsWaiting, m.asked} {
		descs <- desc
	}
}

// scrapePatience bounds the database query of a scrape.
const scrapePatience = 5 * time.Second

// Collect implements prometheus.Collector.
func (m *registryMetrics) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	h, err := m.health(ctx)
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(m.outbox, err)
		return
	}
	to := scrape(metrics)
	to.gauge(m.outbox, float64(h.Outbox))
	to.gauge(m.settled, yesNo(h.Settled))
	for _, r := range h.Requests {
		to.counter(m.requests, r.Count, r.Path, strconv.Itoa(r.Status))
	}
	if h.Whoami.Buckets != nil {
		metrics <- prometheus.MustNewConstHistogram(m.whoami, h.Whoami.Count, h.Whoami.Sum, h.Whoami.Buckets)
	}
	to.gauge(m.held, float64(h.Held))
	to.counter(m.takenOver, h.TakenOver)
	to.counter(m.reports, h.Reports.Published, "published")
	to.counter(m.reports, h.Reports.Lost, "lost")
	to.gauge(m.reportsWaiting, float64(h.Reports.Waiting))
	to.counter(m.asked, h.Asked, "taken")
	to.counter(m.asked, h.NotAsked, "failed")
}

// bridgeMetrics collects the metrics of a bridge.
type bridgeMetrics struct {
	health func() bridge.Health

	transactions, age, events, receipts, repeated, late, bad, seeded, seeding, withoutState, refused *prometheus.Desc
}

func newBridgeMetrics(health func() bridge.Health) *bridgeMetrics {
	return &bridgeMetrics{
		health:       health,
		transactions: series("bridge_transactions_total", "Transactions of the homeserver that were stored."),
		age:          series("bridge_last_transaction_age_seconds", "Time since a transaction was stored, in seconds. Absent before the first since the start."),
		events:       series("bridge_events_total", "Room events stored."),
		receipts:     series("bridge_receipts_total", "Receipts stored. Homeservers without receive_ephemeral send none."),
		repeated:     series("bridge_repeated_events_total", "Room events that had been stored before."),
		late:         series("bridge_late_events_total", "Room events that were too old to notify."),
		bad:          series("bridge_dead_messages_total", "Events and receipts that became dead letters because they could not be read."),
		seeded:       series("bridge_seeds_total", "Rooms whose state was fetched from the homeserver."),
		seeding:      series("bridge_seeds_in_progress", "Rooms whose state is being fetched."),
		withoutState: series("bridge_events_without_state_total", "Batches of events that were stored without the state of their room."),
		refused:      series("bridge_refused_total", "Requests of the homeserver that were refused.", "reason"),
	}
}

// Describe implements prometheus.Collector.
func (m *bridgeMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		m.transactions, m.age, m.events, m.receipts, m.repeated, m.late, m.bad, m.seeded, m.seeding, m.withoutState, m.refused,
	} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *bridgeMetrics) Collect(metrics chan<- prometheus.Metric) {
	h, to := m.health(), scrape(metrics)
	to.counter(m.transactions, h.Transactions)
	if !h.Last.IsZero() {
		to.gauge(m.age, max(time.Since(h.Last).Seconds(), 0))
	}
	to.counter(m.events, h.Events)
	to.counter(m.receipts, h.Receipts)
	to.counter(m.repeated, h.Repeated)
	to.counter(m.late, h.Late)
	to.counter(m.bad, h.Bad)
	to.counter(m.seeded, h.Seeded)
	to.gauge(m.seeding, float64(h.Seeding))
	to.counter(m.withoutState, h.WithoutState)
	for why, n := range h.Refused {
		to.counter(m.refused, n, string(why))
	}
}

// natsMetrics collects the metrics of a connection to NATS.
type natsMetrics struct {
	conn *stream.Conn

	connected, partitions, messages, bytes, missing, dead, unreadable *prometheus.Desc
}

func newNATSMetrics(conn *stream.Conn) *natsMetrics {
	return &natsMetrics{
		conn:       conn,
		connected:  series("nats_connected", "1 while connected to NATS."),
		partitions: series("partitions", "Partitions of the streams. Each is worked on by one process."),
		messages:   series("stream_messages", "Messages in a stream or bucket.", "stream"),
		bytes:      series("stream_bytes", "Size of a stream or bucket, in bytes.", "stream"),
		missing:    series("stream_missing", "1 if a stream or bucket was deleted.", "stream"),
		dead:       series("dead_letters", "Dead letters stored."),
		unreadable: series("unreadable_total", "Messages and values of a stream or bucket that this process could not read.", "stream"),
	}
}

// Describe implements prometheus.Collector.
func (m *natsMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.connected, m.partitions, m.messages, m.bytes, m.missing, m.dead, m.unreadable} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *natsMetrics) Collect(metrics chan<- prometheus.Metric) {
	to := scrape(metrics)
	to.gauge(m.connected, yesNo(m.conn.Connected()))
	to.gauge(m.partitions, float64(m.conn.Topology().Partitions))
	unreadable := m.conn.Unreadable()
	defer func() {
		for stream, n := range unreadable { // not looked up yet
			to.counter(m.unreadable, n, stream)
		}
	}()
	for _, s := range m.conn.Streams() {
		to.gauge(m.messages, float64(s.Messages), s.Name)
		to.gauge(m.bytes, float64(s.Bytes), s.Name)
		to.gauge(m.missing, yesNo(s.Missing), s.Name)
		to.counter(m.unreadable, unreadable[s.Name], s.Name)
		delete(unreadable, s.Name)
		if s.Name == "DEAD" {
			to.gauge(m.dead, float64(s.Messages))
		}
	}
}
