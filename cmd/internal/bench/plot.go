package bench

import (
	"fmt"
	"os"
	"strings"
)

// The size of a plot and of the margin around its axes, in pixels.
const (
	plotWidth, plotHeight = 900, 360
	plotMargin            = 60
	plotTicks             = 5 // of each axis
)

// plotted is a plot: lines over the same time.
type plotted struct {
	title string
	lines []plotLine
	mark  float64 // a time that is marked, with what
	what  string
}

// plotLine is one line of a plot.
type plotLine struct {
	name, colour string
	points       [][2]float64 // seconds and value, in order
}

// svg returns the plot as an SVG document. Names and titles contain no markup.
func (p *plotted) svg() string {
	right, top := 1.0, 1.0
	for _, line := range p.lines {
		for _, at := range line.points {
			right, top = max(right, at[0]), max(top, at[1])
		}
	}
	x := func(seconds float64) float64 { return plotMargin + seconds/right*(plotWidth-2*plotMargin) }
	y := func(value float64) float64 { return plotHeight - plotMargin - value/top*(plotHeight-2*plotMargin) }
	var doc strings.Builder
	write := func(format string, args ...any) { fmt.Fprintf(&doc, format+"\n", args...) }
	write(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`, plotWidth, plotHeight)
	write(`<rect width="100%%" height="100%%" fill="white"/>`)
	write(`<text x="%d" y="20" font-size="14">%s</text>`, plotMargin, p.title)
	for tick := range plotTicks + 1 {
		value, seconds := top*float64(tick)/plotTicks, right*float64(tick)/plotTicks
		write(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>`, x(0), y(value), x(right), y(value))
		write(`<text x="%.1f" y="%.1f" text-anchor="end">%.0f</text>`, x(0)-6, y(value)+4, value)
		write(`<text x="%.1f" y="%.1f" text-anchor="middle">%.0f s</text>`, x(seconds), y(0)+18, seconds)
	}
	write(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#888" stroke-dasharray="4"/>`, x(p.mark), y(0), x(p.mark), y(top))
	write(`<text x="%.1f" y="%.1f">%s</text>`, x(p.mark)+4, y(top)+12, p.what)
	for i, line := range p.lines {
		var points strings.Builder
		for _, at := range line.points {
			fmt.Fprintf(&points, "%.1f,%.1f ", x(at[0]), y(at[1]))
		}
		write(`<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`, strings.TrimSpace(points.String()), line.colour)
		write(`<text x="%d" y="%d" fill="%s">%s</text>`, plotMargin+170*i, plotHeight-12, line.colour, line.name)
	}
	write(`</svg>`)
	return doc.String()
}

// plot writes the plot of an overload to a file.
func (r *overloadReport) plot(path string) error {
	published := plotLine{name: "published, in pokes/s", colour: "#c60"}
	rate := plotLine{name: "pokes/s", colour: "#06c"}
	p := plotted{title: fmt.Sprintf("Overload: %.0f pokes/s offered, %.0f at full load", r.Offered, r.Full), what: "nothing more is published"}
	for _, s := range r.Seconds {
		published.points = append(published.points, [2]float64{s.At, s.Published})
		rate.points = append(rate.points, [2]float64{s.At, s.Rate})
		if !s.Drains {
			p.mark = s.At
		}
	}
	p.lines = []plotLine{published, rate}
	if err := os.WriteFile(path, []byte(p.svg()), 0o600); err != nil {
		return fmt.Errorf("write plot: %w", err)
	}
	return nil
}
