package page

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
)

// The size of a plot, in the units of its viewBox: one a sample, and the height.
const (
	plotWidth  = 360
	plotHeight = 48
)

// plotGap is how long no sample may come before the line is broken.
const plotGap = 3 * sampleEvery

// plot is a small picture of a rate over the last hour, with its figures in words.
type plot struct {
	Title           string
	Kind            string // names its colour
	Now, Mean, Most string
	Line, Area      string // paths
	From            time.Time
}

// newPlots returns a plot of each kind.
func newPlots(points []point, now time.Time) []plot {
	titles := [rateKinds]string{"Room events", "Notifications", "Pokes delivered", "Failed attempts"}
	kinds := [rateKinds]string{"events", "notifications", "pokes", "failures"}
	plots := make([]plot, rateKinds)
	for kind := range plots {
		plots[kind] = newPlot(points, kind, now)
		plots[kind].Title, plots[kind].Kind = titles[kind], kinds[kind]
	}
	return plots
}

func newPlot(points []point, kind int, now time.Time) plot {
	p := plot{Now: "–", Mean: "–", Most: "–"}
	if len(points) == 0 {
		return p
	}
	most, sum := 0.0, 0.0
	for i := range points {
		most, sum = max(most, points[i].values[kind]), sum+points[i].values[kind]
	}
	p.From = points[0].at
	p.Now, p.Mean, p.Most = perSecond(points[len(points)-1].values[kind]), perSecond(sum/float64(len(points))), perSecond(most)
	var line, area strings.Builder
	for run := range runs(points) {
		for i := range run {
			x := plotWidth * (1 - float64(now.Sub(run[i].at))/float64(rateFor))
			y := float64(plotHeight - 2)
			if most > 0 {
				y -= run[i].values[kind] / most * (plotHeight - 4)
			}
			if i == 0 {
				fmt.Fprintf(&line, "M%.1f %.1f", x, y)
				fmt.Fprintf(&area, "M%.1f %d", x, plotHeight)
			} else {
				fmt.Fprintf(&line, "L%.1f %.1f", x, y)
			}
			fmt.Fprintf(&area, "L%.1f %.1f", x, y)
			if i == len(run)-1 {
				fmt.Fprintf(&area, "L%.1f %dZ", x, plotHeight)
			}
		}
	}
	p.Line, p.Area = line.String(), area.String()
	return p
}

// runs yields the samples in runs without a gap.
func runs(points []point) iter.Seq[[]point] {
	return func(yield func([]point) bool) {
		first := 0
		for i := range points {
			last := i == len(points)-1
			if !last && points[i+1].at.Sub(points[i].at) <= plotGap {
				continue
			}
			if !yield(points[first : i+1]) {
				return
			}
			first = i + 1
		}
	}
}

// perSecond returns a rate with two digits or more.
func perSecond(rate float64) string {
	switch {
	case rate == 0:
		return "0"
	case rate < 0.01:
		return "<0.01"
	case rate < 1:
		return strconv.FormatFloat(rate, 'f', 2, 64)
	case rate < 10:
		return strconv.FormatFloat(rate, 'f', 1, 64)
	}
	return thousands(uint64(rate + 0.5))
}

// thousands returns a number with a thin space between groups of three digits.
func thousands(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}
