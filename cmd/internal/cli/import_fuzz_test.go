package cli

import (
	"strings"
	"testing"
)

// FuzzImportRows checks that every input is read to its end or to one error.
func FuzzImportRows(f *testing.F) {
	f.Add("user_name,device_id,kind,app_id,pushkey,data,ts,enabled\n@a:x,D,http,a.b,k,{},1700000000000,t\n")
	f.Add(`[{"user_name":"@a:x","data":"{\"url\":\"https://g\"}","ts":1},{"enabled":false}]`)
	f.Add("{\"localpart\":\"a\",\"pushkey_ts_ms\":1e9}\n{\"server_name\":null}")
	f.Add("\ufeff \n[")
	f.Add("a,a\n1\n")
	f.Fuzz(func(t *testing.T, text string) {
		failed := false
		for row, err := range newImportReader(strings.NewReader(text)).rows() {
			if failed {
				t.Fatalf("%q goes on after an error", text)
			}
			if failed = err != nil; failed {
				continue
			}
			for _, from := range []string{"synapse", "dendrite"} {
				if p := row.pusher(from, "example.org"); p.SetAt.Unix() < 0 && !p.SetAt.IsZero() {
					t.Errorf("%q was set at %s", text, p.SetAt)
				}
			}
		}
	})
}
