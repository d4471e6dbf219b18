package node

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// memoryShare is the part of the memory of the container, or else of the machine, that
	// the process should stay below.
	memoryShare = 0.8
	// rareGC is by how many percent the heap may grow between two garbage collections
	// while the process is far below that.
	rareGC = 400
)

// fitMemory trades memory that is there for fewer garbage collections: the heap may grow to
// five times of what lives in it instead of two, but collections become more frequent as the
// process comes near the memory of its container. GOGC and GOMEMLIMIT take precedence.
func fitMemory(log *slog.Logger) {
	limit, err := memlimit.Set(
		memlimit.WithRatio(memoryShare),
		memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)))
	if err != nil {
		log.Info("memory of the machine is not known, collecting garbage as usual", "error", err)
		return
	}
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	debug.SetGCPercent(rareGC)
	log.Debug("memory limit set", "bytes", limit, "gogc", rareGC)
}
