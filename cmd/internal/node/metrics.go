package node

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"poked/dispatcher"
	"poked/events/stream"
	"poked/registry"
)

// What Prometheus is told. Nothing is counted here: each scrape asks the roles how
// they stand. Every label has few values, however many users, rooms and gateways
// there are: outcome and class are closed sets of words, state is one of five,
// stream one of eleven, stage one of three, and partition is below --partitions.

// series describes one metric.
func series(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("poked_"+name, help, labels, nil)
}

// scrape is one answer that is being put together.
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

// dispatcherMetrics asks a dispatcher.
type dispatcherMetrics struct {
	health func() dispatcher.Health

	roomEvents, notifications, tries, latency, oldest, lagging, passedOver, gap, expired, skipped, gateways, owned, waiting, open *prometheus.Desc
}

func newDispatcherMetrics(health func() dispatcher.Health) *dispatcherMetrics {
	return &dispatcherMetrics{
		health:        health,
		roomEvents:    series("room_events_total", "Room events taken in by match."),
		notifications: series("notifications_total", "Notifications stored."),
		tries:         series("pokes_total", "Tries to tell a pusher something. What is paused or expired was not sent.", "outcome", "class"),
		latency:       series("poke_latency_seconds", "From a room event being stored to its poke being delivered."),
		oldest:        series("oldest_undelivered_seconds", "For how long something has waited to be told, 0 if nothing does."),
		lagging:       series("pushers_lagging", "Pushers that lag."),
		passedOver:    series("notifications_passed_over_total", "Notifications that a pusher was not told because newer ones of their room were."),
		gap:           series("accounting_gap", "Notifications that were to be told to pushers, less those that were told, have expired, were read or passed over, went with their pusher or their partition, and wait: 0 at rest."),
		expired:       series("dead_pokes_total", "Pokes that became dead letters because they outlived their time to live."),
		skipped:       series("dead_messages_total", "Messages that became dead letters because they could not be read."),
		owned:         series("partition_owned", "1 for each partition that this process works through.", "stage", "partition"),
		waiting:       series("partition_waiting_messages", "Messages that a partition's consumer has yet to be given.", "stage", "partition"),
		open:          series("partition_open_messages", "Messages of a partition that were taken and are not done.", "stage", "partition"),
		gateways:      series("gateways", "Push gateways where anything goes on, by state.", "state"),
	}
}

// Describe says which metrics there are.
func (m *dispatcherMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		m.roomEvents, m.notifications, m.tries, m.latency, m.oldest, m.lagging, m.passedOver, m.gap, m.expired, m.skipped, m.gateways, m.owned, m.waiting, m.open,
	} {
		descs <- desc
	}
}

// Collect asks the dispatcher.
func (m *dispatcherMetrics) Collect(metrics chan<- prometheus.Metric) {
	h, to := m.health(), scrape(metrics)
	to.counter(m.roomEvents, h.RoomEvents)
	to.counter(m.notifications, h.Notifications)
	for _, t := range h.Tries {
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
	to.counter(m.expired, h.Expired)
	to.counter(m.skipped, h.Skipped)
	for state, n := range h.Gateways {
		to.gauge(m.gateways, float64(n), string(state))
	}
	for _, f := range h.Following {
		part := strconv.Itoa(f.Part)
		to.gauge(m.owned, 1, f.Stage, part)
		to.gauge(m.waiting, float64(f.Waiting), f.Stage, part)
		to.gauge(m.open, float64(f.Open), f.Stage, part)
	}
}

// registryMetrics asks a registry.
type registryMetrics struct {
	health func(context.Context) (registry.Health, error)

	outbox, told *prometheus.Desc
}

func newRegistryMetrics(health func(context.Context) (registry.Health, error)) *registryMetrics {
	return &registryMetrics{
		health: health,
		outbox: series("outbox_rows", "Changes in the database that NATS has yet to be told of."),
		told:   series("outbox_told", "1 if NATS was told all there was when that was last tried."),
	}
}

// Describe says which metrics there are.
func (m *registryMetrics) Describe(descs chan<- *prometheus.Desc) {
	descs <- m.outbox
	descs <- m.told
}

// scrapePatience bounds what a scrape asks a database.
const scrapePatience = 5 * time.Second

// Collect asks the registry.
func (m *registryMetrics) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	h, err := m.health(ctx)
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(m.outbox, err)
		return
	}
	scrape(metrics).gauge(m.outbox, float64(h.Outbox))
	scrape(metrics).gauge(m.told, yesNo(h.Told))
}

// natsMetrics asks a connection.
type natsMetrics struct {
	conn *stream.Conn

	connected, messages, bytes, missing, dead, unreadable *prometheus.Desc
}

func newNATSMetrics(conn *stream.Conn) *natsMetrics {
	return &natsMetrics{
		conn:       conn,
		connected:  series("nats_connected", "1 if NATS can be reached."),
		messages:   series("stream_messages", "Messages in a stream or bucket.", "stream"),
		bytes:      series("stream_bytes", "Size of a stream or bucket.", "stream"),
		missing:    series("stream_missing", "1 if somebody has deleted a stream or bucket.", "stream"),
		dead:       series("dead_letters", "Dead letters that are kept."),
		unreadable: series("unreadable_total", "Messages and values of a stream or bucket that this process could not read.", "stream"),
	}
}

// Describe says which metrics there are.
func (m *natsMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.connected, m.messages, m.bytes, m.missing, m.dead, m.unreadable} {
		descs <- desc
	}
}

// Collect asks the connection.
func (m *natsMetrics) Collect(metrics chan<- prometheus.Metric) {
	to := scrape(metrics)
	to.gauge(m.connected, yesNo(m.conn.Connected()))
	for _, s := range m.conn.Streams() {
		to.gauge(m.messages, float64(s.Messages), s.Name)
		to.gauge(m.bytes, float64(s.Bytes), s.Name)
		to.gauge(m.missing, yesNo(s.Missing), s.Name)
		if s.Name == "DEAD" {
			to.gauge(m.dead, float64(s.Messages))
		}
	}
	for stream, n := range m.conn.Unreadable() {
		to.counter(m.unreadable, n, stream)
	}
}
