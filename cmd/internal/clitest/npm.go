package clitest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// NodeModules returns the directory node_modules of the package in dir. npm installs it once for each
// package-lock.json, into the user's cache: that takes longer than the tests that use it.
func NodeModules(ctx context.Context, dir string) (path string, err error) {
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return "", fmt.Errorf("install packages: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("install packages: %w", err)
	}
	parent := filepath.Join(cache, "poked")
	kept := filepath.Join(parent, fmt.Sprintf("node-%x", sha256.Sum256(lock)))
	path = filepath.Join(kept, "node_modules")
	if _, err := os.Stat(path); err == nil { //nolint:gosec // in the user's cache
		return path, nil
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", fmt.Errorf("install packages: %w", err)
	}
	fresh, err := os.MkdirTemp(parent, "installing-")
	if err != nil {
		return "", fmt.Errorf("install packages: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(fresh, name), text, 0o600) //nolint:gosec // in the user's cache
		}
		if err != nil {
			return "", fmt.Errorf("install packages: %w", err)
		}
	}
	install := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=1")
	install.Dir = fresh
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	// Another test may have installed it meanwhile.
	if err := os.Rename(fresh, kept); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // in the user's cache
		return "", fmt.Errorf("install packages: %w", err)
	}
	return path, nil
}
