package live

import (
	"context"
	_ "embed" // for the configuration
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"poked/cmd/internal/child"
	"poked/events/bridge"
)

// dendriteVersion is the release of the homeserver. It is built from the module proxy, and
// kept in the user's cache directory.
const dendriteVersion = "v0.13.8"

//go:embed dendrite.yaml
var dendriteConfig string

// errNoHomeserver reports that the homeserver cannot be had here: nothing was tested.
var errNoHomeserver = errors.New("the homeserver cannot be had")

// installDendrite returns the directory of Dendrite's programs, which it builds if they are
// not there.
func installDendrite(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoHomeserver, err)
	}
	dir := filepath.Join(cache, "poked", "dendrite-"+dendriteVersion)
	programs := []string{"dendrite", "generate-keys"}
	missing := false
	for _, program := range programs {
		_, err := os.Stat(filepath.Join(dir, program))
		missing = missing || err != nil
	}
	if !missing {
		return dir, nil
	}
	args := []string{"install"}
	for _, program := range programs {
		args = append(args, "github.com/matrix-org/dendrite/cmd/"+program+"@"+dendriteVersion)
	}
	build := exec.CommandContext(ctx, "go", args...)
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: go install: %w: %s", errNoHomeserver, err, lastLine(out))
	}
	return dir, nil
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// serverName is the name of the homeserver.
const serverName = "example.org"

// sharedSecret lets the run register users.
const sharedSecret = "live"

// prepareDendrite writes the configuration, the keys and poked's registration to a directory,
// and returns the process and the path of the registration.
func prepareDendrite(ctx context.Context, programs, dir, addr, bridgeAddr string) (*child.Process, string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", fmt.Errorf("make directory: %w", err)
	}
	keys := exec.CommandContext(ctx, filepath.Join(programs, "generate-keys"), "--private-key", "matrix_key.pem") //nolint:gosec // as installed
	keys.Dir = dir
	if out, err := keys.CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("generate keys: %w: %s", err, lastLine(out))
	}
	registration, err := bridge.NewRegistration(serverName, "http://"+bridgeAddr)
	if err != nil {
		return nil, "", err
	}
	path := filepath.Join(dir, "poked-registration.yaml")
	for file, text := range map[string]string{path: registration, filepath.Join(dir, "dendrite.yaml"): dendriteConfig} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, "", fmt.Errorf("prepare the homeserver: %w", err)
		}
	}
	return &child.Process{
		Name: "dendrite", Program: filepath.Join(programs, "dendrite"), Dir: dir, Log: dir + ".log",
		Args: []string{"--config", "dendrite.yaml", "--http-bind-address", addr},
	}, path, nil
}
