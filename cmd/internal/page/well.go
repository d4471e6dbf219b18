package page

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"poked/cmd/internal/operate"
	"poked/events"
	"poked/events/stream"
)

// longWait is how long a notification may wait before the page calls it late.
const longWait = 10 * time.Minute

// finding is something that is not as it should be.
type finding struct {
	Level level
	Text  string
	Link  string // where to look, "" for nowhere
}

// well is the page "Is it well?".
type well struct {
	State    state     // the sentence
	Link     string    // where to look, "" for nowhere
	Findings []finding // beside what the sentence says

	Waiting   string // for how long the oldest notification has waited
	Lagging   int64
	Dead      uint64
	Gateways  int
	Plots     []plot
	Since     time.Time // of the plots
	Workers   []worker
	Streams   []streamRow
	Stored    state  // of the streams together
	Held      string // what they hold
	Processes []process
}

// worker is a dispatcher with the partitions that it owns.
type worker struct {
	Name, Host     string
	Match, Deliver string // as ranges
	Waiting        uint64
	Open           int
	Lagging        int64
}

// streamRow is a stream or bucket.
type streamRow struct {
	Name     string
	Messages uint64
	Size     string
	Newest   time.Time
	State    state
}

// process is a running process.
type process struct {
	events.ProcessState
	State state
}

func (p *Page) wellView() view {
	return view{
		name: "well", section: "/", title: "Is it well?", every: 5 * time.Second,
		parts: []string{"sentence", "figures", "plots", "workers", "processes", "stored-all", "streams"},
		data: func(_ context.Context, conn *stream.Conn, _ *http.Request, f *frame) error {
			f.Data = newWell(p.lookAt(conn), p.rates.all(), f.Now)
			return nil
		},
	}
}

// newWell puts together what the page shows of a look.
func newWell(l *look, points []point, now time.Time) *well {
	w := &well{Plots: newPlots(points, now), Gateways: len(gatewaysOf(l.gateways, now)), Waiting: "nothing waits"}
	if len(points) > 0 && now.Sub(points[0].at) < rateFor-time.Minute {
		w.Since = points[0].at
	}
	hosts := map[string]string{}
	for i := range l.processes {
		hosts[l.processes[i].Worker] = l.processes[i].Host
		w.Processes = append(w.Processes, process{l.processes[i], processState(&l.processes[i])})
	}
	slices.SortFunc(w.Processes, func(a, b process) int {
		return cmp.Or(slices.Compare(a.Roles, b.Roles), cmp.Compare(a.Host, b.Host), a.Began.Compare(b.Began))
	})
	oldest := time.Time{}
	for i := range l.dispatchers {
		d := &l.dispatchers[i]
		w.Lagging += d.Lagging
		if !d.OldestDue.IsZero() && (oldest.IsZero() || d.OldestDue.Before(oldest)) {
			oldest = d.OldestDue
		}
		w.Workers = append(w.Workers, workerOf(d, hosts[d.Worker]))
	}
	if !oldest.IsZero() {
		w.Waiting = operate.Short(max(now.Sub(oldest), 0).Round(time.Second))
	}
	w.addStreams(l.streams)
	w.Findings = findings(l, oldest, now)
	w.State = w.sentence(l)
	return w
}

// addStreams adds the streams.
func (w *well) addStreams(streams []stream.Status) {
	w.Stored = state{Level: good, Word: "all stored"}
	var messages, bytes uint64
	worst := 0
	for i := range streams {
		s := &streams[i]
		if s.Name == "DEAD" {
			w.Dead = s.Messages
		}
		messages, bytes = messages+s.Messages, bytes+s.Bytes
		row := streamRow{s.Name, s.Messages, size(s.Bytes), s.LastTime, streamState(s)}
		if row.State.Level.rank() > worst {
			worst, w.Stored = row.State.Level.rank(), state{row.State.Level, s.Name + " is " + row.State.Word, row.State.Detail}
		}
		w.Streams = append(w.Streams, row)
	}
	w.Held = fmt.Sprintf("%s hold %s in %s.", count(len(streams), "stream", "streams and buckets"), count(messages, "message", "messages"), size(bytes))
}

// sentence says in a sentence whether all is well: the worst finding, if there is any.
func (w *well) sentence(l *look) state {
	if len(w.Findings) > 0 {
		first := w.Findings[0]
		w.Link, w.Findings = first.Link, w.Findings[1:]
		s := state{Level: first.Level, Word: first.Text}
		if more := len(w.Findings); more > 0 {
			s.Detail = "And " + count(more, "more finding", "more findings") + ":"
		}
		return s
	}
	s := state{Level: good, Word: "All is well."}
	s.Detail = fmt.Sprintf("%s on %s", count(len(l.dispatchers), "dispatcher works", "dispatchers work"), count(l.partitions, "partition", "partitions"))
	if w.Lagging > 0 {
		s.Detail += ", and " + count(w.Lagging, "pusher catches up", "pushers catch up")
	}
	s.Detail += "."
	return s
}

// findings returns what is not as it should be, the worst first.
func findings(l *look, oldest, now time.Time) (all []finding) {
	add := func(lv level, link, format string, args ...any) {
		all = append(all, finding{lv, fmt.Sprintf(format, args...), link})
	}
	if !l.connected {
		add(bad, "", "NATS is away: nothing is stored, and no phone rings.")
	}
	if len(l.dispatchers) == 0 {
		add(bad, "", "No dispatcher answers: no phone rings until one runs. Nothing is lost meanwhile.")
	} else {
		findOwners(l, add)
		if l.dispatchersErr != nil {
			add(warn, "", "Not every dispatcher answers: %s.", explain(l.dispatchersErr))
		}
	}
	for i := range l.streams {
		if s := streamState(&l.streams[i]); s.Level.rank() >= warn.rank() {
			add(s.Level, "", "The stream %s is %s: %s", l.streams[i].Name, s.Word, s.Detail)
		}
	}
	for i := range l.processes {
		if s := processState(&l.processes[i]); s.Level != good {
			add(s.Level, "", "%s on %s is not ready: %s", sentence(strings.Join(l.processes[i].Roles, ", ")), plain(l.processes[i].Host), s.Detail)
		}
	}
	findLimits(l, add)
	findGateways(l, now, add)
	if late := now.Sub(oldest); !oldest.IsZero() && late >= longWait {
		add(warn, "/gateways", "The oldest notification has waited for %s.", operate.Short(late.Round(time.Second)))
	}
	if versions := versionsOf(l.processes); len(versions) > 1 {
		add(quiet, "", "Processes of different versions run: %s.", strings.Join(versions, ", "))
	}
	slices.SortStableFunc(all, func(a, b finding) int { return b.Level.rank() - a.Level.rank() })
	return all
}

// findOwners finds partitions that nobody, or more than one dispatcher, works on.
func findOwners(l *look, add func(lv level, link, format string, args ...any)) {
	for _, stage := range []string{"match", "deliver"} {
		owners := map[int]int{}
		for i := range l.dispatchers {
			for _, o := range l.dispatchers[i].Owned {
				if o.Stage == stage {
					owners[o.Part]++
				}
				if o.Stage == stage && o.Trouble != "" {
					add(bad, "", "%s of partition %d makes no progress: %s", sentence(stage), o.Part, plain(o.Trouble))
				}
			}
		}
		var without, shared []int
		for part := range l.partitions {
			switch {
			case owners[part] == 0:
				without = append(without, part)
			case owners[part] > 1:
				shared = append(shared, part)
			}
		}
		if len(without) > 0 && l.dispatchersErr == nil {
			add(bad, "", "No dispatcher works on %s of %s: their users' phones do not ring until one does.", stage, partitions(without))
		}
		if len(shared) > 0 {
			add(warn, "", "Two dispatchers work on %s of %s.", stage, partitions(shared))
		}
	}
}

// findLimits finds dispatchers that have more to do than they can.
func findLimits(l *look, add func(lv level, link, format string, args ...any)) {
	limited := 0
	for i := range l.dispatchers {
		if l.dispatchers[i].Limited {
			limited++
		}
	}
	if limited > 0 {
		add(warn, "", "%s more to do than it can, so pokes are late. Add a dispatcher, or give it more CPU.", sentence(count(limited, "dispatcher has", "dispatchers have")))
	}
}

func partitions(parts []int) string {
	if len(parts) == 1 {
		return fmt.Sprintf("partition %d", parts[0])
	}
	return "partitions " + ranges(parts)
}

// findGateways finds gateways that do not work.
func findGateways(l *look, now time.Time, add func(lv level, link, format string, args ...any)) {
	if l.gatewaysErr != nil && len(l.dispatchers) > 0 {
		add(warn, "/gateways", "The gateways are not known: %s.", explain(l.gatewaysErr))
	}
	all := gatewaysOf(l.gateways, now)
	var down, other []*gateway
	for i := range all {
		switch g := &all[i]; g.State.Level {
		case bad:
			down = append(down, g)
		case warn:
			other = append(other, g)
		case good, quiet:
		}
	}
	for _, group := range [][]*gateway{down, other} {
		switch {
		case len(group) == 1:
			text := fmt.Sprintf("The push gateway %s %s", operate.ShortOrigin(group[0].Origin), verbOf(group[0].State.Word))
			if n := group[0].Lagging; n > 0 {
				text += ", and " + count(n, "pusher waits", "pushers wait") + " for it"
			}
			add(group[0].State.Level, group[0].Link(), "%s.", text)
		case len(group) > 1:
			waiting := 0
			for _, g := range group {
				waiting += g.Lagging
			}
			word := "are down"
			if group[0].State.Level == warn {
				word = "do not work well"
			}
			add(group[0].State.Level, "/gateways", "%d of %d push gateways %s, and %s.", len(group), len(all), word, count(waiting, "pusher waits", "pushers wait"))
		}
	}
}

func verbOf(word string) string {
	if word == "works" {
		return word
	}
	return "is " + word
}

func workerOf(d *events.DispatcherState, host string) worker {
	w := worker{Name: d.Worker, Host: host, Lagging: d.Lagging}
	parts := map[string][]int{}
	for _, o := range d.Owned {
		parts[o.Stage] = append(parts[o.Stage], o.Part)
		w.Waiting, w.Open = w.Waiting+o.Waiting, w.Open+o.Open
	}
	w.Match, w.Deliver = ranges(parts["match"]), ranges(parts["deliver"])
	return w
}

// ranges returns numbers in order, as 0–3, 7.
func ranges(numbers []int) string {
	if len(numbers) == 0 {
		return "none"
	}
	slices.Sort(numbers)
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		part := fmt.Sprint(numbers[i])
		if j > i {
			part += fmt.Sprintf("–%d", numbers[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ", ")
}

func streamState(s *stream.Status) state {
	switch {
	case s.Missing:
		return state{bad, "missing", "it was deleted. What was stored in it is lost; poked makes it anew."}
	case s.Current == 0 && s.Replicas > 0:
		return state{bad, "without a leader", "no server answers for it."}
	case s.Current < s.Replicas:
		return state{warn, "not fully replicated", fmt.Sprintf("%d of %d servers have all of it.", s.Current, s.Replicas)}
	case s.Replicas > 1:
		return state{good, fmt.Sprintf("%d replicas", s.Replicas), ""}
	}
	return state{good, "stored", ""}
}

func processState(p *events.ProcessState) state {
	if len(p.Unready) == 0 {
		return state{good, "ready", ""}
	}
	return state{bad, "not ready", plain(strings.Join(p.Unready, "; ")) + "."}
}

// versionsOf returns the versions of the processes, each once.
func versionsOf(all []events.ProcessState) (versions []string) {
	for i := range all {
		versions = append(versions, plain(all[i].Version))
	}
	slices.Sort(versions)
	return slices.Compact(versions)
}

// size returns a number of bytes with a unit.
func size(bytes uint64) string {
	value, unit := float64(bytes), "B"
	for _, larger := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, larger
	}
	if unit == "B" || value >= 100 {
		return fmt.Sprintf("%.0f %s", value, unit)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
