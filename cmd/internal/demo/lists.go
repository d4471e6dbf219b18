package demo

import (
	"fmt"
	"strings"

	"poked/events"
)

// readReceipts adds each receipt to the event before it.
func (rec *recording) readReceipts(receipts string, numbers map[events.EventID]int) error {
	for raw := range strings.Lines(receipts) {
		var receipt struct {
			After events.EventID `json:"after_event_id"`
		}
		if err := decodeTree([]byte(raw), &receipt); err != nil {
			return err
		}
		number := numbers[receipt.After]
		if number == 0 {
			return fmt.Errorf("event %s was not recorded", receipt.After)
		}
		ev := &rec.events[number-1]
		ev.receipts = append(ev.receipts, []byte(strings.TrimSpace(raw)))
	}
	return nil
}

// readGolden reads the list of expected pokes.
func (rec *recording) readGolden(golden string, numbers map[events.EventID]int) error {
	for raw := range strings.Lines(golden) {
		line := new(goldenLine)
		if err := decodeTree([]byte(raw), line); err != nil {
			return err
		}
		number := numbers[line.EventID]
		if number == 0 {
			return fmt.Errorf("event %s was not recorded", line.EventID)
		}
		rec.expect(line, number)
	}
	return nil
}

// expect adds the pokes of a line of the golden list.
func (rec *recording) expect(line *goldenLine, number int) {
	for i := range line.Notified {
		group := &line.Notified[i]
		for _, user := range group.Users {
			for j := range rec.pushers {
				if p := &rec.pushers[j]; p.user == user {
					rec.expected = append(rec.expected, &expectedPoke{
						event: &rec.events[number-1], number: number, pusher: p, line: line, group: group,
					})
				}
			}
		}
	}
}

// readUnread reads what stays unread: it sets which pokes must arrive, because their events
// are never read, and the final unread count of each pusher.
func (rec *recording) readUnread(unread string, numbers map[events.EventID]int) error {
	left := map[events.UserID]map[events.EventID]bool{}
	for raw := range strings.Lines(unread) {
		var line struct {
			User   events.UserID    `json:"user_id"`
			Events []events.EventID `json:"event_ids"`
		}
		if err := decodeTree([]byte(raw), &line); err != nil {
			return err
		}
		left[line.User] = map[events.EventID]bool{}
		for _, id := range line.Events {
			if numbers[id] == 0 {
				return fmt.Errorf("event %s was not recorded", id)
			}
			left[line.User][id] = true
		}
	}
	for i := range rec.pushers {
		rec.pushers[i].unread = len(left[rec.pushers[i].user])
	}
	for _, o := range rec.expected {
		o.read = !left[o.pusher.user][o.event.id]
	}
	return nil
}
