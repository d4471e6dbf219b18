package node

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"
)

// processMetrics collects the metrics that every process with an operator's port has, also
// while it starts.
type processMetrics struct {
	ops   *Ops
	build Version

	info, ready *prometheus.Desc
}

func newProcessMetrics(o *Ops) *processMetrics {
	return &processMetrics{
		ops: o, build: ReadVersion(),
		info:  series("build_info", "1, with the version of this program as labels.", "version", "revision", "goversion", "nats_server"),
		ready: series("ready", "1 while /readyz answers 200: the process does all of its work."),
	}
}

// Describe implements prometheus.Collector.
func (m *processMetrics) Describe(descs chan<- *prometheus.Desc) {
	descs <- m.info
	descs <- m.ready
}

// Collect implements prometheus.Collector.
func (m *processMetrics) Collect(metrics chan<- prometheus.Metric) {
	to, v := scrape(metrics), m.build
	to.gauge(m.info, 1, v.Version, cmp.Or(v.Revision, "unknown"), v.Go, v.NATS)
	to.gauge(m.ready, yesNo(len(m.ops.reasons()) == 0))
}
