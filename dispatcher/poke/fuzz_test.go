package poke

import (
	"bufio"
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"", "0", "120", "99999999999999999999", "-1", "1.5", "Fri, 31 Dec 1999 23:59:59 GMT", "Friday, 31-Dec-99 23:59:59 GMT"} {
		f.Add(value)
	}
	now := time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		if d := parseRetryAfter(value, now); d < 0 || d > MaxRetryAfter {
			t.Errorf("%q asks for %s", value, d)
		}
	})
}

// Every response has an outcome. Only a 2xx is delivered or rejected.
func FuzzGatewayAnswers(f *testing.F) {
	for _, answer := range []string{
		okAnswer, badAnswer, chunked + chunk(rejection) + "0\r\n\r\n", withBody("Content-Encoding: gzip\r\n", bomb(0, rejection)),
		withBody("", "\xef\xbb\xbf"+rejection), "HTTP/1.1 000 No\r\n\r\n", "HTTP/1.1 200 OK\n\n{}", "HTTP/1.1 100 Continue\r\n\r\n" + okAnswer,
		"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", "\r\nHTTP/1.1 200 OK\r\n\r\n",
	} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		resp := fasthttp.AcquireResponse()
		defer fasthttp.ReleaseResponse(resp)
		err := readAnswer(bufio.NewReaderSize(bytes.NewReader(sent), maxHeaderBytes), resp)
		out := Decide(Answer{
			Status: resp.StatusCode(), retryAfter: string(resp.Header.Peek(fasthttp.HeaderRetryAfter)),
			encoding: string(resp.Header.ContentEncoding()), Body: resp.Body(), err: err,
		}, "key", time.Now())
		if out.Class >= Classes || out.Class == ClassOther || (out.Class == ClassOK) != (out.Kind == Delivered) {
			t.Errorf("%v has class %d", out.Kind, out.Class)
		}
		if !out.Works() {
			return
		}
		theirs := bufio.NewReader(bytes.NewReader(sent))
		for range maxInterim {
			resp, err := http.ReadResponse(theirs, nil)
			if err != nil {
				return // net/http is stricter in places
			}
			_ = resp.Body.Close()
			if resp.StatusCode/100 == 1 && resp.StatusCode != http.StatusSwitchingProtocols {
				continue
			}
			if resp.StatusCode/100 != 2 {
				t.Errorf("%q is %v, its status is %d", sent, out.Kind, resp.StatusCode)
			}
			return
		}
	})
}
