package natstest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
	"poked/events/stream"
)

// Stored is a message as a stream holds it.
type Stored struct {
	Seq     uint64
	Subject string
	Data    []byte
	Time    time.Time
	// Historical reports that the message has the header [stream.HeaderHistorical].
	Historical  bool
	TraceParent events.TraceParent
}

// Stored returns the messages of a stream whose subjects begin with prefix, in order.
func (s *Server) Stored(name, prefix string) []Stored {
	s.t.Helper()
	var all []Stored
	s.raw(func(ctx context.Context, js jetstream.JetStream) error {
		logs, err := streamsOf(ctx, js, name)
		for _, log := range logs {
			if all, err = appendStored(ctx, all, log, prefix); err != nil {
				break
			}
		}
		return err
	})
	return all
}

func appendStored(ctx context.Context, all []Stored, log jetstream.Stream, prefix string) ([]Stored, error) {
	state := log.CachedInfo().State
	for seq := max(state.FirstSeq, 1); seq <= state.LastSeq; seq++ {
		msg, err := log.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(msg.Subject, prefix) {
			all = append(all, Stored{
				Seq: seq, Subject: msg.Subject, Data: msg.Data, Time: msg.Time,
				Historical:  msg.Header.Get(stream.HeaderHistorical) == "true",
				TraceParent: stream.TraceParentOf(msg.Header),
			})
		}
	}
	return all, nil
}

// Publish stores a message unchanged, even one that poked would never write.
func (s *Server) Publish(subject, data string) {
	s.t.Helper()
	s.raw(func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.Publish(ctx, subject, []byte(data))
		return err
	})
}

// DeleteKey deletes a key of a bucket.
func (s *Server) DeleteKey(bucket, key string) {
	s.t.Helper()
	s.raw(func(ctx context.Context, js jetstream.JetStream) error {
		kv, err := js.KeyValue(ctx, bucket)
		if err != nil {
			return err
		}
		return kv.Delete(ctx, key)
	})
}

// DeleteStream deletes a stream and its messages.
func (s *Server) DeleteStream(name string) {
	s.t.Helper()
	s.each(name, func(ctx context.Context, js jetstream.JetStream, log jetstream.Stream) error {
		return js.DeleteStream(ctx, log.CachedInfo().Config.Name)
	})
}

// ChangeSubjects makes a stream take other subjects.
func (s *Server) ChangeSubjects(name string, subjects ...string) {
	s.t.Helper()
	s.raw(func(ctx context.Context, js jetstream.JetStream) error {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		cfg := stream.CachedInfo().Config
		cfg.Subjects = subjects
		_, err = js.UpdateStream(ctx, cfg)
		return err
	})
}

// Redeliver makes the server deliver a consumer's unacknowledged messages again now: it
// deletes the consumer, and the reader makes it anew.
func (s *Server) Redeliver(stream, consumer string) {
	s.t.Helper()
	s.raw(func(ctx context.Context, js jetstream.JetStream) error {
		return js.DeleteConsumer(ctx, stream, consumer)
	})
}

// Purge removes all messages of a stream, as its age limit would.
func (s *Server) Purge(name string) {
	s.t.Helper()
	s.each(name, func(ctx context.Context, _ jetstream.JetStream, log jetstream.Stream) error { return log.Purge(ctx) })
}

// each calls do with every stream that a test means by a name.
func (s *Server) each(name string, do func(context.Context, jetstream.JetStream, jetstream.Stream) error) {
	s.t.Helper()
	s.raw(func(ctx context.Context, js jetstream.JetStream) error {
		logs, err := streamsOf(ctx, js, name)
		for _, log := range logs {
			if err = do(ctx, js, log); err != nil {
				break
			}
		}
		return err
	})
}

// Consumers returns how many consumers a stream has.
func (s *Server) Consumers(name string) (n int) {
	s.t.Helper()
	s.each(name, func(ctx context.Context, _ jetstream.JetStream, log jetstream.Stream) error {
		info, err := log.Info(ctx)
		if err == nil {
			n += info.State.Consumers
		}
		return err
	})
	return n
}

// DeleteMessage removes one message from a stream.
func (s *Server) DeleteMessage(stream string, seq uint64) {
	s.t.Helper()
	s.raw(func(ctx context.Context, js jetstream.JetStream) error {
		log, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		return log.DeleteMsg(ctx, seq)
	})
}

// raw calls do with a plain NATS connection.
func (s *Server) raw(do func(context.Context, jetstream.JetStream) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		s.t.Fatalf("connect: %v", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err == nil {
		err = do(ctx, js)
	}
	if err != nil {
		s.t.Fatalf("ask the server: %v", err)
	}
}
