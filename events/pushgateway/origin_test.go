package pushgateway

import "testing"

// An operator may name a gateway as people write it. What is no gateway is refused.
func TestParseOrigin(t *testing.T) {
	for raw, want := range map[string]string{
		"https://push.example.org":                        "https://push.example.org:443",
		"https://push.example.org/":                       "https://push.example.org:443",
		"https://push.example.org:443":                    "https://push.example.org:443",
		"http://push.example.org":                         "http://push.example.org:80",
		"HTTPS://Push.Example.ORG:8443":                   "https://push.example.org:8443",
		"https://push.example.org/_matrix/push/v1/notify": "https://push.example.org:443",
		"https://push.example.org/up?token=SECRET#x":      "https://push.example.org:443",
		"https://büro.example":                            "https://xn--bro-hoa.example:443",
		"http://127.0.0.1:8722":                           "http://127.0.0.1:8722",
		"https://[2606:4700::1111]":                       "https://[2606:4700::1111]:443",
		"push.example.org":                                "",
		"push.example.org:443":                            "",
		"127.0.0.1:8722":                                  "",
		"/_matrix/push/v1/notify":                         "",
		"https:push.example.org":                          "",
		"https://":                                        "",
		"https://:443":                                    "",
		"https://push.example.org:":                       "",
		"https://push.example.org:0":                      "",
		"https://push.example.org:99999":                  "",
		"https://a:SECRET@push.example.org":               "",
		"https://127.0.0.01":                              "",
		"https://[::ffff:1.1.1.1]":                        "",
		"https://-.example":                               "",
		"ftp://push.example.org":                          "",
		"":                                                "",
		"https://a b":                                     "",
		"https://a%zz":                                    "",
	} {
		got, err := ParseOrigin(raw)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", raw, got, err, want)
		}
	}
}
