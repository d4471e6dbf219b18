package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"poked/cmd/internal/child"
)

// errNoProxy reports that nginx is not installed: nothing was tested.
var errNoProxy = errors.New("nginx is not installed")

// switchedOff is a line of the example configuration that is for homeservers like Dendrite.
var switchedOff = regexp.MustCompile(`(?m)^(\s*)#([^ #\n])`)

// prepareProxy returns nginx with the example configuration of this repository before a
// homeserver and poked, at other addresses and less patient.
func prepareProxy(ctx context.Context, root, dir, addr, homeserver, poked string) (*child.Process, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		return nil, errNoProxy
	}
	example, err := os.ReadFile(filepath.Join(root, "cmd", "poked", "deploy", "nginx.conf"))
	if err != nil {
		return nil, fmt.Errorf("read the proxy's configuration, in the repository's root (--root): %w", err)
	}
	text := strings.NewReplacer("listen 8443;", "listen "+addr+";", "127.0.0.1:8008", homeserver, "127.0.0.1:8720", poked,
		"fail_timeout=10s", "fail_timeout=2s").Replace(switchedOff.ReplaceAllString(string(example), "$1$2"))
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s;\n", kind, kind)
	}
	text = "daemon off;\nmaster_process off;\npid pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n" + temp.String() + text + "}\n"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(text), 0o600); err != nil { //nolint:gosec // G703: a directory of this run
		return nil, fmt.Errorf("prepare the proxy: %w", err)
	}
	check := exec.CommandContext(ctx, program, "-t", "-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf")) //nolint:gosec // as installed
	if out, err := check.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("check the proxy's configuration: %w: %s", err, lastLine(out))
	}
	return &child.Process{
		Name: "nginx", Program: program, Log: dir + ".log",
		Args: []string{"-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf")},
	}, nil
}
