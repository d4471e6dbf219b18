package node

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/nats-io/nats-server/v2/server"
)

// release is the version that a package or an image is built as:
//
//	go build -ldflags "-X poked/cmd/internal/node.release=v1.2.3" ./cmd/poked
var release string //nolint:gochecknoglobals // the linker sets it

// Version describes this build.
type Version struct {
	Version  string `json:"version"`            // of the package, the image or the module, "(devel)" when built from a directory
	Revision string `json:"revision,omitempty"` // commit, if it was recorded
	Modified bool   `json:"modified,omitempty"` // there were uncommitted changes
	Go       string `json:"go"`
	NATS     string `json:"nats_server"` // of the embedded server
}

// ReadVersion returns the version of the running program.
func ReadVersion() Version {
	v := Version{Version: cmp.Or(release, "unknown"), Go: runtime.Version(), NATS: "v" + server.VERSION}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if release == "" && info.Main.Version != "" {
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
