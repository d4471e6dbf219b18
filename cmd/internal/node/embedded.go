package node

import (
	"context"
	"log/slog"
	"net"

	"poked/events/stream"
)

// RunEmbedded runs a process with an embedded NATS server that stores its files in a data
// directory. It first waits until the disk has free space.
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
	s.NATS, s.embedded = stream.Config{Name: "poked serve", InProcess: nats}, nats
	s.Where = append(s.Where, "nats", nats.Where(), "fsync", options.Sync.String())
	s.Starters = append(s.Starters, func(context.Context, Base) (Actor, error) {
		w := &natsWatch{nats: nats, dir: dir.Path, log: s.Log}
		return Actor{Name: "nats", Run: w.run, unready: w.unready}, nil
	})
	return f.runWith(ctx, s, o)
}

// warnIfOpen warns if the embedded NATS listens on an address that is not loopback.
func warnIfOpen(log *slog.Logger, nats *EmbeddedNATS) {
	if !nats.Listens {
		return
	}
	if addr, ok := nats.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() {
		log.Warn("the embedded nats has no password: only the homeserver should be able to reach it", "nats", addr.String())
	}
}
