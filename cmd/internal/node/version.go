package node

import (
	"runtime"
	"runtime/debug"

	"github.com/nats-io/nats-server/v2/server"
)

// Version describes this build.
type Version struct {
	Version  string `json:"version"`            // of the module, "(devel)" when built from a directory
	Revision string `json:"revision,omitempty"` // commit, if it was recorded
	Modified bool   `json:"modified,omitempty"` // there were uncommitted changes
	Go       string `json:"go"`
	NATS     string `json:"nats_server"` // of the embedded server
}

// ReadVersion returns the version of the running program.
func ReadVersion() Version {
	v := Version{Version: "unknown", Go: runtime.Version(), NATS: "v" + server.VERSION}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			v.Revision = setting.Value
		case "vcs.modified":
			v.Modified = setting.Value == "true"
		}
	}
	return v
}

// String returns the version in one line.
func (v Version) String() string {
	line := "poked " + v.Version
	if v.Revision != "" {
		line += " " + v.Revision
	}
	if v.Modified {
		line += " (modified)"
	}
	return line + ", " + v.Go + ", nats-server " + v.NATS
}
