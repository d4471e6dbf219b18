package cli

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
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
	if got.Code != ExitOK || !strings.HasPrefix(got.Stdout, "REMOVED  USER  APP  PUSHER  REASON") {
		t.Errorf("exit code %d, %s%s", got.Code, got.Stdout, got.Stderr)
	}
}
