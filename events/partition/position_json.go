package partition

import (
	"encoding/base64"
	"strconv"
	"time"

	"poked/events/stream"
)

// encode returns the position as POSITIONS keeps it: what encoding/json makes of it, appended,
// since a dispatcher at its limit writes a thousand sequences a hundred times a second for each
// partition. The owner is a worker's name, which needs no escapes.
func (p *Position) encode() []byte {
	const digits = 9 // of most sequences, with the comma
	b := make([]byte, 0, 256+digits*(len(p.Open)+len(p.Wrote))+32*len(p.Parts))
	b = strconv.AppendUint(append(b, `{"next":`...), p.Next, 10)
	b = appendSequences(b, `,"open":`, p.Open)
	if !p.At.IsZero() {
		b = appendTime(append(b, `,"at":`...), p.At)
	}
	b = appendSequences(b, `,"wrote":`, p.Wrote)
	b = appendMark(b, p.Log)
	b = p.appendParts(b)
	b = append(append(append(b, `,"owner":"`...), p.Owner...), `","stream":`...)
	return append(appendTime(b, p.Stream), '}')
}

func appendSequences(b []byte, name string, sequences []uint64) []byte {
	if len(sequences) == 0 {
		return b
	}
	b = append(append(b, name...), '[')
	for i, seq := range sequences {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, seq, 10)
	}
	return append(b, ']')
}

func appendTime(b []byte, at time.Time) []byte {
	return append(at.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

func appendMark(b []byte, mark stream.LogMark) []byte {
	if mark.IsZero() {
		return b
	}
	if len(mark) == 1 {
		return strconv.AppendUint(append(b, `,"log":`...), mark[0], 10)
	}
	return appendSequences(b, `,"log":`, mark)
}

// appendParts appends Parts in the order of Open.
func (p *Position) appendParts(b []byte) []byte {
	if len(p.Parts) == 0 {
		return b
	}
	lead := `,"parts":{"`
	for _, seq := range p.Open {
		if bits := p.Parts[seq]; bits != nil {
			b = strconv.AppendUint(append(b, lead...), seq, 10)
			b = append(base64.StdEncoding.AppendEncode(append(b, `":"`...), bits), '"')
			lead = `,"`
		}
	}
	return append(b, '}')
}
