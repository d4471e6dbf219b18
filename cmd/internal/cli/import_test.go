package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poked/events/eventstest"
)

const gatewayURL = "https://push.example.org/_matrix/push/v1/notify"

// Tables as PostgreSQL and SQLite export them.
func importTables() map[string]struct{ from, table string } {
	data := `{"url":"` + gatewayURL + `","format":"event_id_only"}`
	quoted := `"` + strings.ReplaceAll(data, `"`, `""`) + `"`
	encoded, _ := json.Marshal(data)
	return map[string]struct{ from, table string }{
		"synapse, CSV": {"synapse", "id,user_name,access_token,profile_tag,kind,app_id,app_display_name,device_display_name,pushkey,ts,lang,data,enabled,device_id\n" +
			"1,@alice:example.org,7,,http,org.example.app,App,Phone,k1,1700000000000,en," + quoted + ",t,PHONE\n" +
			"2,@bob:example.org,,,http,org.example.app,App,Phone,k2,1700000000000,,\"{\"\"url\"\":\n\"\"" + gatewayURL + "\"\"}\",f,\n" +
			"3,@carol:example.org,,,email,m.email,Email,carol@example.org,CANARY@example.org,1700000000000,en,{},t,\n"},
		"synapse, JSON lines": {"synapse", fmt.Sprintf(`{"user_name":"@alice:example.org","profile_tag":"","kind":"http","app_id":"org.example.app","app_display_name":"App","device_display_name":"Phone","pushkey":"k1","ts":1700000000000,"lang":"en","data":%s,"enabled":null,"device_id":"PHONE"}
{"user_name":"@bob:example.org","profile_tag":"","kind":"http","app_id":"org.example.app","app_display_name":"App","device_display_name":"Phone","pushkey":"k2","ts":1700000000000,"lang":null,"data":%s,"enabled":false,"device_id":null}
{"user_name":"@carol:example.org","kind":"email","app_id":"m.email","app_display_name":"Email","device_display_name":"x","pushkey":"CANARY@example.org","lang":"en","data":"{}"}
`, encoded, data)},
		"synapse, a JSON array": {"synapse", fmt.Sprintf(`
[{"user_name":"@alice:example.org","kind":"http","app_id":"org.example.app","app_display_name":"App","device_display_name":"Phone","pushkey":"k1","ts":1700000000000,"lang":"en","data":%s,"enabled":1,"device_id":"PHONE"},
{"user_name":"@bob:example.org","kind":"http","app_id":"org.example.app","app_display_name":"App","device_display_name":"Phone","pushkey":"k2","ts":1700000000000,"lang":"","data":%s,"enabled":0},
{"user_name":"@carol:example.org","kind":"email","app_id":"m.email","app_display_name":"","device_display_name":"x","pushkey":"CANARY@example.org","lang":"en","data":"{}"}]`, encoded, encoded)},
		"dendrite, CSV": {"dendrite", "localpart,server_name,device_id,profile_tag,kind,app_id,app_display_name,device_display_name,pushkey,pushkey_ts_ms,lang,data\r\n" +
			"alice,example.org,PHONE,,http,org.example.app,App,Phone,k1,1700000000000,en," + quoted + "\r\n" +
			"bob,,,,http,org.example.app,App,Phone,k2,0,," + quoted + "\r\n" +
			"carol,example.org,,,http,org.example.app,App,Phone,CANARY,0,,CANARY\r\n"},
	}
}

func TestImportTables(t *testing.T) {
	for name, tt := range importTables() {
		t.Run(name, func(t *testing.T) {
			database := filepath.Join(t.TempDir(), "poked.db")
			args := []string{"import", "--from", tt.from, "--database", database, "--server-name", "example.org", "--json"}
			for _, run := range []struct {
				args        []string
				taken, have int
			}{
				{append(args, "--dry-run", "-"), 2, 0},
				{append(args, writeFile(t, "pushers", tt.table)), 2, 0},
				{append(args, "-"), 0, 2},
			} {
				got := poked(t, tt.table, run.args...)
				var report importReport
				if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
					t.Fatalf("%v: %s%s", err, got.Stdout, got.Stderr)
				}
				if report.Rows != 3 || report.Taken != run.taken || report.There != run.have || report.Refused != 1 || len(report.Reasons) != 1 || got.Code != ExitFailure {
					t.Errorf("exit code %d, %+v\n%s", got.Code, report, got.Stderr)
				}
				if strings.Contains(got.Stderr+got.Stdout, "CANARY") || !strings.Contains(got.Stderr, "row 3: not taken: ") {
					t.Errorf("standard error %q", got.Stderr)
				}
			}
		})
	}
}

func TestImportOfNoTable(t *testing.T) {
	database := filepath.Join(t.TempDir(), "poked.db")
	for name, tt := range map[string]struct {
		table string
		code  int
	}{
		"nothing":         {"", ExitOK},
		"a header only":   {"user_name,data\n", ExitOK},
		"a broken row":    {"user_name,data\nCANARY\n", ExitFailure},
		"broken JSON":     {`{"user_name":CANARY`, ExitFailure},
		"an endless list": {`[{"user_name":"@a:b"}`, ExitFailure},
	} {
		got := poked(t, tt.table, "import", "--from", "synapse", "--database", database, "-")
		if got.Code != tt.code || strings.Contains(got.Stderr, "CANARY") {
			t.Errorf("%s: exit code %d, %s", name, got.Code, got.Stderr)
		}
	}
}

// Removed pushers are listed with the reason; an unreadable database is an error.
func TestPushersRemoved(t *testing.T) {
	database := filepath.Join(t.TempDir(), "poked.db")
	if got := poked(t, "", "pushers", "removed", "--database", database); got.Code != ExitFailure || !strings.Contains(got.Stderr, "open database") {
		t.Errorf("no database: exit code %d, %s", got.Code, got.Stderr)
	}
	poked(t, "", "import", "--from", "synapse", "--database", database, "-")
	got := poked(t, "", "pushers", "removed", "--database", database)
	got.Want(t, ExitOK, "", "no removed pusher matches")
}

// With the homeserver at hand an import fetches the push rules of those it imports.
func TestImportFetchesRules(t *testing.T) {
	hs := eventstest.StartHomeserver(t)
	dir := t.TempDir()
	registration, database := filepath.Join(dir, "registration.yaml"), filepath.Join(dir, "poked.db")
	poked(t, "", "bridge", "registration", "--server-name", "example.org", "--out", registration)
	text, err := os.ReadFile(registration)
	if err != nil {
		t.Fatal(err)
	}
	registration = eventstest.WriteRegistration(t, string(text))
	_, table, _ := strings.Cut(importTables()["dendrite, CSV"].table, "\r\n")
	head := "localpart,server_name,device_id,profile_tag,kind,app_id,app_display_name,device_display_name,pushkey,pushkey_ts_ms,lang,data\n"
	table, _, _ = strings.Cut(table, "\r\n")
	table = head + table + "\n"
	args := []string{"import", "--from", "dendrite", "--database", database, "--json", "--homeserver", hs.URL, "--registration", registration}
	if got := poked(t, table, "import", "--from", "dendrite", "--database", database, "--homeserver", hs.URL, "-"); got.Code != ExitUsage {
		t.Errorf("without a registration: exit code %d, %s", got.Code, got.Stderr)
	}
	hs.Register(false)
	got := poked(t, table, append(args, "-")...)
	if got.Code != ExitFailure || !strings.Contains(got.Stderr, "the registry fetches the rules at its start") {
		t.Errorf("a homeserver that does not know poked: exit code %d, %s", got.Code, got.Stderr)
	}
	hs.Register(true)
	for i, want := range []string{`"fetched":0`, `"fetched":1`, `"fetched":0`} {
		run := append(slices.Clone(args), "-")
		if i == 0 {
			run = append(run, "--dry-run")
		}
		got := poked(t, table, run...)
		if got.Code != ExitOK || !strings.Contains(strings.ReplaceAll(got.Stdout, " ", ""), want) {
			t.Errorf("run %d: exit code %d, %s%s, want %s", i, got.Code, got.Stdout, got.Stderr, want)
		}
	}
	if n := len(hs.Hits("GET /_matrix/client/v3/pushrules/?user_id=%40alice")); n != 2 { // the first was refused
		t.Errorf("the homeserver was asked %d times", n)
	}
}

// Dendrite's column says milliseconds, and holds seconds.
func TestImportedTimes(t *testing.T) {
	for text, want := range map[string]int64{"1700000000": 1700000000, "1700000000999": 1700000000, "0": 0, "": 0, "CANARY": 0} {
		row := importRow{"localpart": "alice", "server_name": "example.org", "pushkey_ts_ms": text, "user_name": "@alice:example.org", "ts": text}
		for _, from := range []string{"dendrite", "synapse"} {
			if at := row.pusher(from, "").SetAt; at.IsZero() != (want == 0) || want != 0 && at.Unix() != want {
				t.Errorf("%s: %q is %s", from, text, at)
			}
		}
	}
}
