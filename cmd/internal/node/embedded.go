package node

import (
	"context"
	"log/slog"
	"net"

	"poked/events/stream"
)

// RunEmbedded runs a process that makes the streams on a NATS server inside itself, with
// its files in a data directory. It begins when the disk has room.
func (f RoleFlags) RunEmbedded(ctx context.Context, s Stack, dir *DataDir, options NATSOptions) error {
	o, err := OpenOps(ctx, f.Ops, s.Log)
	if err != nil {
		return err
	}
	defer o.Close()
	if awaitRoom(ctx, dir.Path, s.Log, o.waitsFor) != nil {
		return nil // asked to stop meanwhile
	}
	nats, err := StartNATS(options)
	if err != nil {
		return err
	}
	defer nats.Stop()
	warnIfOpen(s.Log, nats)
	s.NATS = stream.Config{Name: "poked serve", InProcess: nats}
	s.Where = append(s.Where, "nats", nats.Where(), "fsync", options.Sync.String())
	s.Starters = append(s.Starters, func(context.Context, Base) (Actor, error) {
		w := &natsWatch{nats: nats, dir: dir.Path, log: s.Log}
		return Actor{Name: "nats", Run: w.run, unready: w.unready}, nil
	})
	return f.runWith(ctx, s, o)
}

// warnIfOpen warns of an embedded NATS that others than this machine reach.
func warnIfOpen(log *slog.Logger, nats *EmbeddedNATS) {
	if !nats.Listens {
		return
	}
	if addr, ok := nats.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() {
		log.Warn("the embedded nats asks for no password: let only the homeserver reach it", "nats", addr.String())
	}
}
