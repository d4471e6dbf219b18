package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"poked/cmd/internal/clitest"
	"poked/events/eventstest"
	"poked/events/pushgateway"
)

// aPoke is the body of a poke as the dispatcher builds it.
func aPoke(t *testing.T) string {
	t.Helper()
	n := pushgateway.Notification{
		EventID: "$e", RoomID: "!r:example.org", Type: "m.room.message", Sender: "@bob:example.org", SenderDisplayName: "Bob\x1b[2J",
		RoomName: "Kitchen", Content: []byte(`{"msgtype":"m.text","body":"soup\nis ready"}`),
	}
	device := pushgateway.Device{AppID: "org.example.app", Pushkey: "secret-pushkey", Tweaks: []byte(`{"sound":"default","highlight":true}`)}
	return string(pushgateway.AppendBody(nil, n.AppendJSON(nil), 3, &device))
}

// tryGateway runs poked gateway, calls send to send it requests, stops it, and returns its
// result.
func tryGateway(t *testing.T, args []string, send func(url string, printed *eventstest.LogBuffer)) clitest.Result {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	p, stdout := newProcess(t), &eventstest.LogBuffer{}
	p.run(ctx, stdout, append([]string{"gateway", "--listen=127.0.0.1:0"}, args...)...)
	url, _ := p.waitReady()["gateway"].(string)
	send(url, stdout)
	stop()
	<-p.ended
	return clitest.Result{Code: p.code, Stdout: stdout.String(), Stderr: p.log()}
}

// post sends a request, with an access token if there is one, and returns the status, the
// headers and the body of the answer.
func post(t *testing.T, method, url, body string, token ...string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, t := range token {
		request.Header.Set("Authorization", "Bearer "+t)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(answer)
}

// The gateway prints a poke as a readable line, and answers as the Push Gateway API requires
// or as its flags say.
func TestGatewayPrintsAndAnswers(t *testing.T) {
	for _, tt := range []struct {
		name       string
		args       []string
		status     int
		answer     string
		retryAfter string
		printed    string // a regular expression for the lines after the header
	}{
		{"print", []string{"--print"}, 200, `{"rejected":[]}`, "",
			`^\d\d:\d\d:\d\d\.\d{3}  200       high default !       3  org\.example\.app secret…  Kitchen       Bob \[2J: soup is ready\n$`},
		{"without --print", nil, 200, `{"rejected":[]}`, "", `  200  .*soup is ready\n$`},
		{"nothing", []string{"--no-print"}, 200, `{"rejected":[]}`, "", `^$`},
		{"down", []string{"--answer", "503", "--retry-after", "90s"}, 503, `{"errcode":"M_UNKNOWN","error":"the gateway answers this because of --answer"}`, "90", `  503  `},
		{"rejected", []string{"--reject", "other,secret-pushkey"}, 200, `{"rejected":["secret-pushkey"]}`, "", `  rejected  `},
		{"each rejected", []string{"--reject", "*"}, 200, `{"rejected":["secret-pushkey"]}`, "", `  rejected  `},
		{"another rejected", []string{"--reject", "other"}, 200, `{"rejected":[]}`, "", `  200  `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ran := tryGateway(t, tt.args, func(url string, _ *eventstest.LogBuffer) {
				status, header, answer := post(t, http.MethodPost, url, aPoke(t))
				if status != tt.status || answer != tt.answer || header.Get("Retry-After") != tt.retryAfter {
					t.Errorf("answered %d %s, Retry-After %q", status, answer, header.Get("Retry-After"))
				}
			})
			_, printed, _ := strings.Cut(ran.Stdout, "what\n")
			if !regexp.MustCompile(tt.printed).MatchString(printed) || ran.Code != ExitOK {
				t.Errorf("exit code %d, printed %q", ran.Code, ran.Stdout)
			}
			if strings.Contains(ran.Stdout+ran.Stderr, "secret-pushkey") {
				t.Error("a whole pushkey is shown")
			}
		})
	}
}

// With --json each notification is printed as a line, unchanged.
func TestGatewayPrintsJSON(t *testing.T) {
	body := aPoke(t)
	ran := tryGateway(t, []string{"--json"}, func(url string, _ *eventstest.LogBuffer) {
		for range 2 {
			post(t, http.MethodPost, url, strings.ReplaceAll(body, ",", ",\n "))
		}
	})
	lines := strings.SplitAfter(ran.Stdout, "\n")
	var line json.RawMessage
	if len(lines) != 3 || json.Unmarshal([]byte(lines[0]), &line) != nil || `{"notification":`+string(line)+`}` != body {
		t.Errorf("printed %q, want the notification of %s", ran.Stdout, body)
	}
}

// A request that is no poke is refused with a Matrix error and not printed, and the gateway
// continues.
func TestGatewayRefusesBadInput(t *testing.T) {
	device := `{"app_id":"a","pushkey":"k"}`
	ran := tryGateway(t, nil, func(url string, _ *eventstest.LogBuffer) {
		for _, tt := range []struct {
			method, path, body string
			status             int
			errcode            string
		}{
			{"POST", "", ``, 400, "M_NOT_JSON"},
			{"POST", "", `{"notification":`, 400, "M_NOT_JSON"},
			{"POST", "", `[]`, 400, "M_BAD_JSON"},
			{"POST", "", `{"notification":{"devices":{}}}`, 400, "M_BAD_JSON"},
			{"POST", "", `{"notification":{"counts":{"unread":"many"},"devices":[` + device + `]}}`, 400, "M_BAD_JSON"},
			{"POST", "", `null`, 400, "M_MISSING_PARAM"},
			{"POST", "", `{"devices":[` + device + `]}`, 400, "M_MISSING_PARAM"},
			{"POST", "", `{"notification":{"devices":[]}}`, 400, "M_MISSING_PARAM"},
			{"POST", "", `{"notification":{"devices":[` + device + `,{"app_id":"a"}]}}`, 400, "M_MISSING_PARAM"},
			{"POST", "", `"` + strings.Repeat("a", 1<<20) + `"`, 413, "M_TOO_LARGE"},
			{"GET", "", ``, 405, "M_UNRECOGNIZED"},
			{"POST", "/more", `{}`, 404, "M_UNRECOGNIZED"},
		} {
			status, _, answer := post(t, tt.method, url+tt.path, tt.body)
			if status != tt.status || !strings.Contains(answer, `"errcode":"`+tt.errcode+`"`) {
				t.Errorf("%s %.60s: %d %s, want %d %s", tt.method, tt.body, status, answer, tt.status, tt.errcode)
			}
		}
		if status, _, _ := post(t, http.MethodPost, url, fmt.Sprintf(`{"notification":{"devices":[%s]}}`, device)); status != http.StatusOK {
			t.Errorf("a badge after the bad requests: %d", status)
		}
	})
	if strings.Count(ran.Stdout, "\n") != 2 || !strings.Contains(ran.Stdout, "(badge)") {
		t.Errorf("printed %q", ran.Stdout)
	}
}

// A gateway that cannot print ends with an error, and its sender retries.
func TestGatewayEndsWhenItCannotPrint(t *testing.T) {
	out, in := io.Pipe()
	_ = out.Close() // so that each write fails
	p := newProcess(t)
	p.run(t.Context(), in, "gateway", "--listen=127.0.0.1:0")
	url, _ := p.waitReady()["gateway"].(string)
	if status, _, _ := post(t, http.MethodPost, url, aPoke(t)); status != http.StatusServiceUnavailable {
		t.Errorf("answered %d", status)
	}
	<-p.ended
	if p.code != ExitFailure {
		t.Errorf("exit code %d", p.code)
	}
}
