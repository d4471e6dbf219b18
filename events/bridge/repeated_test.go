package bridge_test

import (
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poked/events/publish"
)

// freshFor is how long the bridge relies on NATS to recognise ids.
const freshFor = 5 * time.Minute

// A homeserver that received no answer repeats the transaction with more events.
func TestRepeatedTransactionGrows(t *testing.T) {
	h := newHouse(t)
	h.put(create(), message("$1"))
	h.put(create(), message("$1"), message("$2"))
	h.want("after two", "$create $1 $2")
	h.open() // a bridge with empty caches
	h.put(message("$1"), message("$2"), message("$3"))
	h.want("after three", "$create $1 $2 $3")
}

// The answer is lost, and the homeserver repeats the transaction after NATS has
// forgotten the ids. The bridge was restarted meanwhile.
func TestRepeatedTransactionAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newQuietHouse(t)
		sent := []string{create(), member("$invite", "@bob:example.org", "invite"), message("$1"), message("$2")}
		h.put(sent...)
		<-time.After(time.Hour)
		h.open()
		h.put(append(sent, message("$3"))...)
		h.want("after an hour", "$create $invite $1 $2 $3")
		if counts := h.bridge.Counts(); counts.Repeated != 4 || counts.Events != 1 {
			t.Errorf("counts %+v", counts)
		}
	})
}

// A client's redaction was published by way of the registry, before the messages that came
// before it: they are not taken for stored, and the redaction is stored once.
func TestReportedRedactionHidesNoMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newQuietHouse(t)
		h.put(create())
		late := []string{message("$1"), message("$2"), message("$redaction")}
		if err := publish.NewPublisher(h.conn).Event(t.Context(), []byte(message("$redaction")), publish.Reported()); err != nil {
			t.Fatal(err)
		}
		<-time.After(freshFor + time.Second)
		h.put(late...)
		h.want("after the messages", "$create $redaction $1 $2")
	})
}

// The bridge crashes after it stored a part of the transaction, which is repeated after
// an hour.
func TestHalfStoredTransactionAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newQuietHouse(t)
		rest := []string{message("$2"), member("$invite", "@bob:example.org", "invite"), message("$3")}
		sent := append([]string{create(), message("$1")}, rest...)
		h.put(sent[:2]...)
		<-time.After(time.Hour)
		h.open()
		h.put(sent...)
		h.want("after an hour", "$create $1 $2 $invite $3")
	})
}

// A transaction that is repeated while it is being stored waits for the first.
func TestRepeatedWhileStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newQuietHouse(t)
		h.put(create())
		h.nats.Stop()
		body := transaction(message("$1"), message("$2"))
		var group sync.WaitGroup
		for range 3 {
			group.Go(func() {
				if status, errcode := h.request(http.MethodPut, txn, hsToken, body); status != 200 {
					t.Errorf("%d %s", status, errcode)
				}
			})
		}
		time.AfterFunc(5*time.Second, h.nats.Start)
		group.Wait()
		h.want("after three at once", "$create $1 $2")
		if counts := h.bridge.Counts(); counts.Events != 3 || counts.Repeated != 4 {
			t.Errorf("counts %+v", counts)
		}
	})
}
