// Package pgserver runs real PostgreSQL servers on this machine, for tests and for pokelab:
// in a directory of their own, on a Unix socket and a loopback port, and never as root.
//
// A server can be killed, paused, restarted and followed by a standby, which can take over.
// It ends with [Server.Stop].
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"poked/events/wait"
)

// ErrMissing reports that PostgreSQL is not installed.
var ErrMissing = errors.New("PostgreSQL is not installed: apt-get install postgresql")

// startPatience is how long a server may take to accept connections.
const startPatience = 30 * time.Second

// runAs is the user of the servers if this process is root, under which PostgreSQL refuses
// to run. Debian's package makes it.
const runAs = "postgres"

// Server is a PostgreSQL server.
type Server struct {
	bin, dir string
	port     int
	as       *syscall.Credential // nil for the user of this process
	cmd      *exec.Cmd
	ended    chan struct{}
}

// Options are what a server is started with besides its defaults.
type Options struct {
	// Durable syncs commits to disk. Without it a server is faster, and may lose commits in
	// a power cut, but not when it is killed.
	Durable bool
	// Settings are lines of postgresql.conf.
	Settings []string
	// InitArgs are additional arguments of initdb.
	InitArgs []string
}

// find returns the directory of PostgreSQL's programs, of its newest version.
func find() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		path, err = filepath.EvalSymlinks(path) // the other programs are beside it
		return filepath.Dir(path), err
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", ErrMissing
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 for an odd name
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// Start makes a cluster with the superuser poked and starts its server.
func Start(ctx context.Context, o Options) (*Server, error) {
	s, err := prepare()
	if err != nil {
		return nil, err
	}
	args := append([]string{"-D", s.data(), "-U", "poked", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"}, o.InitArgs...)
	if err := s.run(ctx, "initdb", args...); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	settings := []string{
		"unix_socket_directories = '" + s.dir + "'", "listen_addresses = '127.0.0.1'", "max_connections = 300",
		"shared_buffers = 64MB", "max_wal_senders = 4", "wal_level = replica", "hot_standby = on", "deadlock_timeout = 200ms",
	}
	if !o.Durable {
		settings = append(settings, "fsync = off", "full_page_writes = off")
	}
	return s, s.configure(ctx, append(settings, o.Settings...))
}

// prepare makes the directory of a server and chooses its port.
func prepare() (*Server, error) {
	bin, err := find()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
	if os.Geteuid() == 0 {
		if s.as, err = credentialOf(runAs); err != nil {
			return nil, err
		}
	}
	if s.dir, err = os.MkdirTemp("", "poked-pg-"); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	if s.as != nil {
		if err := os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return nil, fmt.Errorf("make directory: %w", err)
		}
	}
	s.port, err = freePort()
	return s, err
}

// configure writes the last lines of postgresql.conf and starts the server.
func (s *Server) configure(ctx context.Context, settings []string) error {
	path := filepath.Join(s.data(), "postgresql.conf")
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	settings = append(settings, "port = "+strconv.Itoa(s.port))
	_, err = file.WriteString("\n" + strings.Join(settings, "\n") + "\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	return s.Restart(ctx)
}

func credentialOf(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("choose a user for PostgreSQL, which does not run as root: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("read user: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("read user: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is closed at once
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	addr, _ := listener.Addr().(*net.TCPAddr) // nothing else listens on tcp
	return addr.Port, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Log returns the path of the server's log.
func (s *Server) Log() string { return filepath.Join(s.dir, "log") }

// Dir returns the directory with the server's socket.
func (s *Server) Dir() string { return s.dir }

// Host returns the address of the server's port.
func (s *Server) Host() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns the URL of a database over TCP.
func (s *Server) URL(database string) string { return URL(database, s.Host()) }

// URL returns the URL of a database that may be on several servers.
func URL(database string, hosts ...string) string {
	return "postgres://poked@" + strings.Join(hosts, ",") + "/" + database + "?sslmode=disable"
}

// SocketURL returns the URL of a database over the Unix socket.
func (s *Server) SocketURL(database string) string {
	query := url.Values{"host": {s.dir}, "port": {strconv.Itoa(s.port)}}
	return "postgres://poked@/" + database + "?" + query.Encode()
}

// run runs one of PostgreSQL's programs.
func (s *Server) run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...) //nolint:gosec // it is PostgreSQL's
	cmd.Dir, cmd.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: s.as}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Exec runs SQL statements in a database.
func (s *Server) Exec(ctx context.Context, database, statements string) error {
	return s.run(ctx, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", s.dir, "-p", strconv.Itoa(s.port), "-U", "poked", "-d", database, "-c", statements)
}

// Restart starts the server, after stopping it if it runs, and waits until it accepts
// connections.
func (s *Server) Restart(ctx context.Context) error {
	s.end(syscall.SIGINT) // fast shutdown: it ends sessions
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		err := s.launch(ctx)
		if err == nil || !strings.Contains(err.Error(), "shared memory block") {
			return err
		}
		// The processes of a server that was killed are not gone yet.
		if wait.For(ctx, 20*time.Millisecond) != nil {
			return err
		}
	}
}

func (s *Server) launch(ctx context.Context) error {
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // the server's user reads it
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	defer func() { _ = log.Close() }()                                    // the server has its own descriptor
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data()) //nolint:gosec,noctx // end ends it
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Pdeathsig: syscall.SIGQUIT}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }() // ends with the server
	s.cmd, s.ended = cmd, ended
	return s.await(ctx)
}

// await waits until the server accepts connections.
func (s *Server) await(ctx context.Context) error {
	for {
		err := s.run(ctx, "pg_isready", "-q", "-h", s.dir, "-p", strconv.Itoa(s.port))
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			log, _ := os.ReadFile(s.Log()) // the error names the file
			return fmt.Errorf("start postgres: it ended, see %s: %s", s.Log(), tail(string(log)))
		default:
		}
		if ended := wait.For(ctx, 20*time.Millisecond); ended != nil {
			return fmt.Errorf("start postgres: %w", errors.Join(ended, err))
		}
	}
}

// tail returns the last lines of a text.
func tail(text string) string {
	const most = 1000
	return text[max(0, len(text)-most):]
}

// end sends the server a signal and waits for its end.
func (s *Server) end(signal syscall.Signal) {
	if s.cmd == nil {
		return
	}
	s.Resume()
	_ = s.cmd.Process.Signal(signal) // it may have ended
	select {
	case <-s.ended:
	case <-time.After(startPatience):
		s.eachProcess(syscall.SIGKILL)
		<-s.ended
	}
	s.cmd = nil
}

// Kill ends the server at once, with all its processes, as a crash of the machine does.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	s.eachProcess(syscall.SIGKILL)
	<-s.ended
	s.cmd = nil
}

// Pause stops the server's processes until Resume.
func (s *Server) Pause() { s.eachProcess(syscall.SIGSTOP) }

// Resume continues them.
func (s *Server) Resume() { s.eachProcess(syscall.SIGCONT) }

// eachProcess sends a signal to the server and its children.
func (s *Server) eachProcess(signal syscall.Signal) {
	if s.cmd == nil {
		return
	}
	server := s.cmd.Process.Pid
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", server, server)) // none if it has ended
	for _, pid := range append([]string{strconv.Itoa(server)}, strings.Fields(string(children))...) {
		if n, err := strconv.Atoi(pid); err == nil && n > 1 {
			_ = syscall.Kill(n, signal) // it may have ended
		}
	}
}

// Standby starts a server that follows this one. With synchronous set on this one's
// synchronous_standby_names it has every commit.
func (s *Server) Standby(ctx context.Context) (*Server, error) {
	next, err := prepare()
	if err != nil {
		return nil, err
	}
	err = next.run(ctx, "pg_basebackup", "-D", next.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync",
		"-d", "host="+s.dir+" port="+strconv.Itoa(s.port)+" user=poked application_name=standby")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(next.dir))
	}
	return next, next.configure(ctx, []string{"unix_socket_directories = '" + next.dir + "'", "synchronous_standby_names = ''"})
}

// Promote makes a standby take over.
func (s *Server) Promote(ctx context.Context) error {
	return s.run(ctx, "pg_ctl", "promote", "-D", s.data(), "-w")
}

// Stop ends the server and removes its files.
func (s *Server) Stop() error {
	s.end(syscall.SIGQUIT) // immediate: its files go, too
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove files of postgres: %w", err)
	}
	return nil
}
