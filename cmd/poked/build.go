package main

import (
	"runtime"
	"runtime/debug"
)

// version is what is known of this build.
type version struct {
	Version  string `json:"version"`            // of the module, "(devel)" when built from a directory
	Revision string `json:"revision,omitempty"` // of the repository, if that was recorded
	Modified bool   `json:"modified,omitempty"` // the repository had changes that were not committed
	Go       string `json:"go"`
	NATS     string `json:"nats_server"` // the embedded server's module
}

func readVersion() version {
	v := version{Version: "unknown", Go: runtime.Version(), NATS: "unknown"}
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
	for _, module := range info.Deps {
		if module.Path == "github.com/nats-io/nats-server/v2" {
			v.NATS = module.Version
		}
	}
	return v
}

// String returns the version in one line.
func (v version) String() string {
	line := "poked " + v.Version
	if v.Revision != "" {
		line += " " + v.Revision
	}
	if v.Modified {
		line += " (modified)"
	}
	return line + ", " + v.Go + ", nats-server " + v.NATS
}
