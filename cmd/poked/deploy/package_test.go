// Package deploy has the tests of what stands beside this file for operators: the systemd unit and the Debian package.
package deploy

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// nfpm makes the package. Newer versions need modules that the Go module proxy refuses.
const nfpm = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.44.1"

// run runs a command in the root of the repository and returns its output.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = filepath.Join("..", "..", "..")
	command.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// buildPackage follows the instructions at the top of nfpm.yaml, and returns the package.
func buildPackage(t *testing.T, version string) string {
	t.Helper()
	raw, err := os.ReadFile("nfpm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "nfpm.yaml")
	if err := os.WriteFile(config, bytes.ReplaceAll(raw, []byte("build/"), []byte(dir+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	build := regexp.MustCompile(`(?m)^#     (go build .*|build/poked --man .*|go run .*)$`).FindAllStringSubmatch(string(raw), -1)
	if len(build) != 3 || !strings.Contains(build[2][1], nfpm) {
		t.Fatalf("nfpm.yaml builds with %q", build)
	}
	for _, command := range build {
		line := strings.NewReplacer("-o build/", "-o "+dir+"/", "build/poked", dir+"/poked", "-t build", "-t "+dir, "-f cmd/poked/deploy/nfpm.yaml", "-f "+config).Replace(command[1])
		run(t, []string{"VERSION=" + version, "ARCH=" + runtime.GOARCH}, "sh", "-c", line)
	}
	return filepath.Join(dir, fmt.Sprintf("poked_%s_%s.deb", version, runtime.GOARCH))
}

// The Debian package installs, its unit starts poked and learns that it is ready, an upgrade
// keeps configuration and data, and nothing but the user is left after a purge. It changes
// the machine, so it runs in CI only, as root.
func TestDebianPackage(t *testing.T) {
	if os.Getenv("POKED_PACKAGE") == "" {
		t.Skip("POKED_PACKAGE=1 installs a package on this machine")
	}
	if _, err := os.Stat("/usr/bin/poked"); err == nil {
		t.Fatal("poked is installed already")
	}
	older, newer := buildPackage(t, "1.0.0"), buildPackage(t, "1.0.1")
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "dpkg", "--purge", "poked").Run() })
	run(t, nil, "dpkg", "--install", older)
	if got := run(t, nil, "poked", "--version"); !strings.HasPrefix(got, "poked v1.0.0") {
		t.Errorf("version %q", got)
	}
	for path, want := range map[string]string{
		"/etc/poked": "750 root poked", "/etc/poked/poked.env": "640 root poked", "/var/lib/poked": "700 poked poked", "/usr/bin/poked": "755 root root",
		"/usr/share/man/man1/poked.1.gz": "644 root root", "/usr/share/bash-completion/completions/poked": "644 root root",
	} {
		if got := strings.TrimSpace(run(t, nil, "stat", "--format=%a %U %G", path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	const marker = "\nPOKED_LOG_FORMAT=json\n"
	env, err := os.OpenFile("/etc/poked/poked.env", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = env.WriteString(marker)
	_ = env.Close()
	run(t, nil, "sh", "-c", "poked bridge registration --server-name example.org --out /etc/poked/poked-registration.yaml && chgrp poked /etc/poked/poked-registration.yaml && chmod 640 /etc/poked/poked-registration.yaml")
	startUnit(t)
	run(t, nil, "dpkg", "--install", newer)
	if got := run(t, nil, "poked", "--version"); !strings.HasPrefix(got, "poked v1.0.1") {
		t.Errorf("version %q after the upgrade", got)
	}
	if got := run(t, nil, "cat", "/etc/poked/poked.env"); !strings.Contains(got, marker) {
		t.Errorf("the upgrade changed the configuration: %s", got)
	}
	startUnit(t)
	run(t, nil, "dpkg", "--remove", "poked")
	run(t, nil, "stat", "/var/lib/poked/poked.db", "/etc/poked/poked.env")
	run(t, nil, "dpkg", "--purge", "poked")
	for _, path := range []string{"/usr/bin/poked", "/etc/poked", "/var/lib/poked", "/usr/lib/systemd/system/poked.service"} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
}

// startUnit does what systemd does with the installed unit: it runs ExecStart as the unit's
// user with the environment file, waits for READY=1 at NOTIFY_SOCKET, and stops it.
func startUnit(t *testing.T) {
	t.Helper()
	raw, err := os.ReadFile("/usr/lib/systemd/system/poked.service")
	if err != nil {
		t.Fatal(err)
	}
	setting := func(name string) string {
		t.Helper()
		found := regexp.MustCompile(`(?m)^` + name + `=-?(.*)$`).FindStringSubmatch(strings.ReplaceAll(string(raw), "\\\n", ""))
		if found == nil {
			t.Fatalf("the unit has no %s", name)
		}
		return found[1]
	}
	if setting("Type") != "notify" {
		t.Errorf("the unit is of type %s", setting("Type"))
	}
	socket := filepath.Join(os.TempDir(), fmt.Sprintf("poked-notify-%d", os.Getpid()))
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close(); _ = os.Remove(socket) }()
	if err := os.Chmod(socket, 0o777); err != nil { // the user of the unit writes to it
		t.Fatal(err)
	}
	script := "set -a; . " + setting("EnvironmentFile") + "; set +a; exec " + setting("ExecStart")
	unit := exec.CommandContext(t.Context(), "setpriv", "--reuid="+setting("User"), "--regid="+setting("Group"), "--clear-groups", "sh", "-c", script)
	unit.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	var log bytes.Buffer
	unit.Stderr = &log
	if err := unit.Start(); err != nil {
		t.Fatal(err)
	}
	message := func() string {
		buf := make([]byte, 256)
		if err := listener.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := listener.Read(buf)
		if err != nil {
			_ = unit.Process.Kill()
			_ = unit.Wait()
			t.Fatalf("no word from the unit: %v\n%s", err, log.String())
		}
		return string(buf[:n])
	}
	if got := message(); got != "READY=1" {
		t.Errorf("it says %q", got)
	}
	if err := unit.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if got := message(); got != "STOPPING=1" {
		t.Errorf("it says %q", got)
	}
	if err := unit.Wait(); err != nil {
		t.Errorf("it ends with %v:\n%s", err, log.String())
	}
}

// The unit is valid, and systemd rates what it may do as safe.
func TestUnitIsHardened(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("this test needs systemd-analyze")
	}
	raw, err := os.ReadFile("poked.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "poked.service")
	raw = regexp.MustCompile(`/usr/bin/poked`).ReplaceAll(raw, []byte("/bin/true")) // it is not installed
	if err := os.WriteFile(unit, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", "--man=false", unit}, {"security", "--offline=true", "--threshold=20", unit}} {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
		if err != nil || strings.Contains(string(out), "Unknown") {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
}
