package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/cmd/internal/child"
	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/stream"
	"poked/events/wait"
	"poked/registry/database"
	"poked/registry/database/pgserver"
)

// registryCmd is "pokelab bench registry": how fast registries take changes and answer
// questions, on each kind of database, and how soon one with many pushers is ready.
//
//	clients ──HTTP──▶ one or two registries ──▶ SQLite, or PostgreSQL
//	                      └──▶ NATS, files
type registryCmd struct {
	For     time.Duration  `name:"for" default:"10s" env:"POKED_BENCH_REGISTRY_FOR" help:"Duration of each measurement."`
	Clients int            `name:"clients" default:"32" env:"POKED_BENCH_CLIENTS" help:"Clients that set pushers at once."`
	Readers int            `name:"readers" default:"4" env:"POKED_BENCH_READERS" help:"Clients that get their pushers meanwhile."`
	Pushers int            `name:"pushers" default:"1000000" env:"POKED_BENCH_PUSHERS" help:"Pushers in the database, one per user, for the time of a start. 0 skips that."`
	Fsync   node.FsyncFlag `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often NATS syncs to disk: always, or an interval. Databases sync every commit."`
	JSON    bool           `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (registryCmd) Help() string {
	return "Each row is one kind of database with one or two registries in processes of their own, and a NATS of its own. A set is " +
		"answered once it is on disk, in NATS, and in effect for later events. ready: from the start of a registry until it has " +
		"compared all pushers with NATS. PostgreSQL must be installed; it is started in a temporary directory, and not as root."
}

// Validate is called by kong.
func (c registryCmd) Validate() error {
	if c.For <= 0 || c.Clients < 1 || c.Readers < 0 || c.Pushers < 0 {
		return errors.New("--for and --clients must be positive, --readers and --pushers not negative")
	}
	return nil
}

// Run measures and prints a report.
func (c registryCmd) Run(ctx context.Context, std terminal.Streams) (err error) {
	progress := progressTo(std)
	report := registryReport{Clients: c.Clients, Readers: c.Readers, Pushers: c.Pushers}
	var databases registryDatabases
	defer func() { err = errors.Join(err, databases.stop()) }()
	for _, row := range []registryRow{
		{Database: "sqlite", Registries: 1}, {Database: "postgres", Registries: 1}, {Database: "postgres", Registries: 2},
	} {
		progress("%s, registries: %d", row.Database, row.Registries)
		if err := c.measure(ctx, &row, &databases, progress); err != nil {
			return fmt.Errorf("measure %s: %w", row.Database, err)
		}
		report.Rows = append(report.Rows, row)
	}
	return terminal.PrintReport(std.Out, report, c.JSON)
}

// registryDatabases makes a database for each row, those of PostgreSQL on one server, which the
// first of them starts.
type registryDatabases struct{ postgres *pgserver.Server }

// make returns the address of an empty database. The one before is gone.
func (d *registryDatabases) make(ctx context.Context, kind, dir string) (address string, err error) {
	if kind != "postgres" {
		return filepath.Join(dir, "poked.db"), nil
	}
	if d.postgres == nil {
		if d.postgres, err = pgserver.Start(ctx, pgserver.Options{Durable: true}); err != nil {
			return "", err
		}
	}
	for _, statement := range []string{"DROP DATABASE IF EXISTS poked", "CREATE DATABASE poked"} {
		if err := d.postgres.Exec(ctx, "postgres", statement); err != nil {
			return "", err
		}
	}
	return d.postgres.SocketURL("poked"), nil
}

func (d *registryDatabases) stop() error {
	if d.postgres == nil {
		return nil
	}
	return d.postgres.Stop()
}

// registryWorld is the processes of one row.
type registryWorld struct {
	dir, address, tokens string
	nats                 *process
	conn                 *stream.Conn
	registries           []*child.Process
	urls                 []string
}

// measure fills in a row.
func (c registryCmd) measure(ctx context.Context, row *registryRow, databases *registryDatabases, progress func(string, ...any)) (err error) {
	w := &registryWorld{}
	defer func() { err = errors.Join(err, w.stop()) }()
	if err := w.start(ctx, c); err != nil {
		return err
	}
	if w.address, err = databases.make(ctx, row.Database, w.dir); err != nil {
		return err
	}
	if c.Pushers > 0 && row.Registries == 1 {
		if err := w.fill(ctx, c.Pushers, progress); err != nil {
			return err
		}
	}
	for range row.Registries {
		began := time.Now()
		if err := w.startRegistry(ctx); err != nil {
			return err
		}
		row.Ready = time.Since(began)
	}
	progress("%s, registries: %d: setting pushers for %s", row.Database, row.Registries, c.For)
	row.Sets, row.Gets, err = w.load(ctx, c)
	for _, r := range w.registries {
		row.CPU += child.CPUOf(r.PID())
	}
	return err
}

func (w *registryWorld) start(ctx context.Context, c registryCmd) (err error) {
	if w.dir, err = os.MkdirTemp("", "poked-bench-"); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if w.nats, err = startProcess(ctx, "bench-nats", filepath.Join(w.dir, "nats"), "--fsync", c.Fsync.String()); err != nil {
		return err
	}
	if w.conn, err = stream.Connect(ctx, stream.Config{URL: w.nats.url, Name: "bench", Log: slog.New(slog.DiscardHandler)}); err != nil {
		return err
	}
	if err := w.conn.Setup(ctx, stream.Topology{Partitions: stream.DefaultPartitions, Replicas: 1}); err != nil {
		return err
	}
	var tokens strings.Builder
	for n := range c.Clients + c.Readers {
		_, _ = fmt.Fprintf(&tokens, "token-%d @client-%d:bench.example\n", n, n)
	}
	w.tokens = filepath.Join(w.dir, "tokens")
	if err := os.WriteFile(w.tokens, []byte(tokens.String()), 0o600); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	return nil
}

// fill writes pushers into the database and into NATS, as if a registry had published them.
func (w *registryWorld) fill(ctx context.Context, pushers int, progress func(string, ...any)) error {
	db, err := database.Open(ctx, w.address, database.Options{})
	if err != nil {
		return err
	}
	numbers := "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < " + strconv.Itoa(pushers-1) + ") "
	err = db.Bulk(ctx, func(tx *database.Tx) error {
		for _, statement := range []string{
			"INSERT INTO users (user_id, version) " + numbers + "SELECT '@user-' || i || ':bench.example', 1 FROM n",
			`INSERT INTO pushers (user_id, app_id, pushkey, kind, instance_handle, app_display_name, device_display_name, lang, data, device_id, pushkey_ts)
				` + numbers + `SELECT '@user-' || i || ':bench.example', 'org.example.bench', 'key-' || i, 'http', '', 'Bench', 'Phone', 'en', '` + benchData + `', '', 1 FROM n`,
		} {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("write pushers: %w", err)
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	progress("%d pushers are in the database, and go to NATS", pushers)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(256)
	for n := range pushers {
		group.Go(func() error {
			return w.conn.PutPushers(ctx, events.UserPushers{UserID: events.UserID(fmt.Sprintf("@user-%d:bench.example", n)), Version: 1, Pushers: []events.Pusher{{
				AppID: "org.example.bench", Pushkey: fmt.Sprintf("key-%d", n), Kind: "http", AppDisplayName: "Bench", DeviceDisplayName: "Phone", Lang: "en",
				Data: []byte(benchData), PushkeyTS: 1,
			}}})
		})
	}
	return group.Wait()
}

const benchData = `{"url":"https://gateway.bench.example/_matrix/push/v1/notify"}`

// startRegistry starts one more registry, and returns once it is ready.
func (w *registryWorld) startRegistry(ctx context.Context) error {
	ports, err := child.FreePorts(2)
	if err != nil {
		return err
	}
	at := func(n int) string { return child.Host + ":" + strconv.Itoa(ports[n]) }
	p := &child.Process{
		Name: "registry", Log: filepath.Join(w.dir, fmt.Sprintf("registry%d.log", len(w.registries))),
		Args: child.Poked("registry", "--nats", w.nats.url, "--database", w.address, "--tokens", w.tokens, "--http", at(0), "--ops", at(1),
			"--user-rate=1000000", "--user-burst=1000000", "--log-level=warn"),
	}
	if err := p.Start(); err != nil {
		return err
	}
	w.registries, w.urls = append(w.registries, p), append(w.urls, "http://"+at(0))
	for {
		if status, _ := request(ctx, http.MethodGet, "http://"+at(1)+"/readyz", "", ""); status == http.StatusOK {
			return nil
		}
		if err := wait.For(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

var registryHTTP = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: 30 * time.Second} //nolint:gochecknoglobals // not changed

// request sends a request and returns the status of the answer.
func request(ctx context.Context, method, url, token, body string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := registryHTTP.Do(req)
	if err != nil {
		return 0, fmt.Errorf("send request: %w", err)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, errors.Join(err, res.Body.Close())
}

// load runs clients for a while, and returns how long their requests took.
func (w *registryWorld) load(ctx context.Context, c registryCmd) (sets, gets registryLatency, err error) {
	ends := time.Now().Add(c.For)
	var mu sync.Mutex
	var took [2][]time.Duration // of sets and of gets
	group, ctx := errgroup.WithContext(ctx)
	for n := range c.Clients + c.Readers {
		kind, rng := 0, rand.New(rand.NewPCG(uint64(n), 0)) //nolint:gosec // a small number, and no secret
		if n >= c.Clients {
			kind = 1
		}
		group.Go(func() error {
			base, token := w.urls[n%len(w.urls)]+"/_matrix/client/v3/", "token-"+strconv.Itoa(n)
			for time.Now().Before(ends) {
				method, path, body := http.MethodGet, "pushers", ""
				if kind == 0 {
					method, path, body = http.MethodPost, "pushers/set", fmt.Sprintf(`{"kind":"http","app_id":"org.example.bench","pushkey":"%d-%d","app_display_name":"Bench",
						"device_display_name":"Phone","lang":"%d","data":%s,"append":true}`, n, rng.IntN(3), rng.IntN(1000), benchData)
				}
				began := time.Now()
				status, err := request(ctx, method, base+path, token, body)
				if err != nil || status != http.StatusOK {
					return errors.Join(err, fmt.Errorf("%s %s: status %d", method, path, status))
				}
				mu.Lock()
				took[kind] = append(took[kind], time.Since(began))
				mu.Unlock()
			}
			return nil
		})
	}
	err = group.Wait()
	return latencyOf(took[0], c.For), latencyOf(took[1], c.For), err
}

func latencyOf(took []time.Duration, during time.Duration) registryLatency {
	if len(took) == 0 {
		return registryLatency{}
	}
	slices.Sort(took)
	at := func(share float64) time.Duration { return took[int(share*float64(len(took)-1))] }
	return registryLatency{Rate: float64(len(took)) / during.Seconds(), P50: at(0.5), P99: at(0.99), Max: at(1)}
}

func (w *registryWorld) stop() (err error) {
	err = child.StopAll(w.registries)
	if w.conn != nil {
		err = errors.Join(err, w.conn.Close())
	}
	if w.nats != nil {
		w.nats.stop()
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}
