package stream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"poked/events/natstest"
	"poked/events/stream"
)

// Every stream and bucket is listed, with what is in it now.
func TestAskStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		for seq := range uint64(3) {
			notify(t, conn, "@a:x", "!r", seq+1)
		}
		server.DeleteMessage(stream.Notifications, 1)
		all, err := conn.AskStreams(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		state := map[string]stream.Status{}
		for _, s := range all {
			state[s.Name] = s
		}
		got := state[stream.Notifications]
		if got.Messages != 2 || got.LastSeq != 3 || got.Bytes == 0 || !got.LastTime.Equal(time.Now()) {
			t.Errorf("%+v, want two messages of three", got)
		}
		if _, there := state["KV_"+stream.BucketPositions]; !there {
			t.Errorf("no buckets in %v", all)
		}
	})
}
