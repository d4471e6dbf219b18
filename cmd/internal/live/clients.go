package live

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// library is a client library and the program that uses it, testdata/clients/<dir>.
type library struct {
	name, dir string
	install   []string // command that makes it ready, in a copy of dir
	run       []string
}

func libraries() []library {
	return []library{
		{"matrix-js-sdk", "js", []string{"npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=1"}, []string{"node", "live.mjs"}},
		{"mautrix-go", "mautrix", []string{"go", "build", "-o", "client", "."}, []string{"./client"}},
	}
}

// clients starts client libraries by way of the proxy: beside poked, and while poked is down.
// Each does what an app does, and says what went wrong.
func (w *world) clients(ctx context.Context, r *report) error {
	var ready []library
	for _, lib := range libraries() {
		dir := filepath.Join(w.dir, "client-"+lib.dir)
		err := os.CopyFS(dir, os.DirFS(filepath.Join(w.root, "testdata", "clients", lib.dir)))
		if err == nil {
			install := exec.CommandContext(ctx, lib.install[0], lib.install[1:]...) //nolint:gosec // constants
			install.Dir = dir
			var out []byte
			if out, err = install.CombinedOutput(); err != nil {
				err = fmt.Errorf("%w: %s", err, lastLine(out))
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("install %s: %w", lib.name, ctx.Err())
		}
		if err != nil {
			r.add(row{name: lib.name + " cannot be had, NOT TESTED", expected: "–", theirs: "–", ours: err.Error(), right: true})
			continue
		}
		lib.dir = dir
		ready = append(ready, lib)
	}
	for _, lib := range ready {
		r.add(w.client(ctx, lib, "up"))
	}
	w.poked.Kill()
	for _, lib := range ready {
		r.add(w.client(ctx, lib, "down"))
	}
	if err := w.poked.Start(); err != nil {
		return err
	}
	return w.ready(ctx, w.ops+"/readyz")
}

// clientPatience bounds one run of a client.
const clientPatience = 90 * time.Second

// client runs a client in a phase. The client logs in as a user of its own, starts, works with
// pushers and push rules and logs out; while poked is up alice talks to it when it says that it
// is ready, and it reads and redacts.
func (w *world) client(ctx context.Context, lib library, phase string) row {
	ctx, cancel := context.WithTimeout(ctx, clientPatience)
	defer cancel()
	row := row{name: lib.name + " while poked is " + phase, expected: "content", theirs: "–"}
	if err := w.talk(ctx, lib, phase, filepath.Base(lib.dir)+"-"+phase); err != nil {
		row.ours = strings.ReplaceAll(err.Error(), "\n", " ")
		return row
	}
	row.ours, row.right = "content", true
	return row
}

// talk is client for a user, whose name is the pushkey as well.
func (w *world) talk(ctx context.Context, lib library, phase, name string) error {
	if err := register(ctx, w.homeserver, name); err != nil {
		return err
	}
	alice, err := login(ctx, w.proxy, "alice", "alice-talks")
	if err != nil {
		return err
	}
	answer, err := alice.ask(ctx, "POST", "v3/createRoom", object{"preset": "private_chat", "name": "Client", "invite": []string{userID(name)}})
	if err != nil {
		return err
	}
	room := answer.Get("room_id").Str
	gateway := w.ours.gateway.URL()
	if phase == "down" { // the homeserver has the pusher meanwhile
		gateway = w.theirs.gateway.URL()
	}
	args := slices.Concat(lib.run[1:], []string{w.proxy, name, password, gateway, name, room, phase})
	client := exec.CommandContext(ctx, lib.run[0], args...) //nolint:gosec // constants
	client.Dir = lib.dir
	var problems strings.Builder
	client.Stderr = &problems
	out, err := client.StdoutPipe()
	if err != nil {
		return fmt.Errorf("run client: %w", err)
	}
	in, err := client.StdinPipe()
	if err != nil {
		return fmt.Errorf("run client: %w", err)
	}
	if err := client.Start(); err != nil {
		return fmt.Errorf("run client: %w", err)
	}
	said, failed := w.follow(ctx, out, in, alice, room, name)
	if err := client.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(problems.String()))
	}
	if phase == "up" && said == "" {
		return errors.Join(failed, errors.New("the client was never ready"))
	}
	return failed
}

// follow does what a client waits for, until it ends, and returns the message that was said to
// it.
func (w *world) follow(ctx context.Context, out io.Reader, in io.Writer, alice *user, room, pushkey string) (said string, failed error) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch lines.Text() {
		case "ready":
			said, failed = w.greet(ctx, alice, room, pushkey) // what is read before its poke is not poked
		case "read": // the client has read what alice said
			failed = errors.Join(failed, w.cleared(ctx, pushkey))
		}
		_, _ = io.WriteString(in, "\n") // fails only if the client has ended
	}
	return said, failed
}

// greet sends a message and waits for its poke.
func (w *world) greet(ctx context.Context, alice *user, room, pushkey string) (string, error) {
	said, err := alice.say(ctx, room, "m.room.message", text("hello"))
	if err != nil {
		return "", err
	}
	err = w.until(ctx, func() bool { return w.ours.of(said)[pushkey] == "high default" })
	if err != nil {
		err = fmt.Errorf("the poke is %q", w.ours.of(said)[pushkey])
	}
	return said, err
}

// cleared waits until the badge of a pushkey is gone.
func (w *world) cleared(ctx context.Context, pushkey string) error {
	keys := map[string]int{pushkey: 0}
	if w.until(ctx, func() bool { return w.ours.counts(keys)[pushkey] == 0 }) != nil {
		return fmt.Errorf("the badge is %d after the receipt", w.ours.counts(keys)[pushkey])
	}
	return nil
}

// until waits until something that pokes change is so.
func (w *world) until(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	for {
		next := w.ours.next()
		if done() {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
