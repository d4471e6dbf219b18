package webpush

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"poked/events/webpush/webpushtest"
)

func decode(t *testing.T, s string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The example of RFC 8291, section 5.
const (
	rfcMessage   = "When I grow up, I want to be a watermelon"
	rfcASPrivate = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
	rfcUAPrivate = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
	rfcUAPublic  = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
	rfcSalt      = "DGv6ra1nlYgDCS1FRnbzlw"
	rfcAuth      = "BTBZMqHH6r4Tts7J_aSIgg"
	rfcBody      = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)

func TestSealIsTheExampleOfRFC8291(t *testing.T) {
	s, err := ParseSubscription(rfcUAPublic, rfcAuth)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ecdh.P256().NewPrivateKey(decode(t, rfcASPrivate))
	if err != nil {
		t.Fatal(err)
	}
	body, err := s.seal([]byte("before"), []byte(rfcMessage), own, [saltBytes]byte(decode(t, rfcSalt)))
	if err != nil || string(body) != "before"+string(decode(t, rfcBody)) {
		t.Errorf("sealed %s, %v", base64.RawURLEncoding.EncodeToString(body), err)
	}
}

// The example of RFC 8188, section 3.1: a key without an id.
func TestRecordIsTheExampleOfRFC8188(t *testing.T) {
	want := decode(t, "I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg")
	body, err := appendRecord(nil, []byte("I am the walrus"), decode(t, "yqdlZ-tYemfogSmv7Ws5PQ"), [saltBytes]byte(want), nil)
	if err != nil || !bytes.Equal(body, want) {
		t.Errorf("encoded %x, %v", body, err)
	}
}

// The decoder of the tests reads what the RFCs have, several records and padding included
// (RFC 8188, section 3.2).
func TestBrowserOpensTheExamplesOfTheRFCs(t *testing.T) {
	browser, err := webpushtest.Parse(rfcUAPrivate, rfcAuth)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := browser.Open(decode(t, rfcBody)); err != nil || string(got) != rfcMessage {
		t.Errorf("opened %q, %v", got, err)
	}
	two := decode(t, "uNCkWiNYzKTnBN9ji3-qWAAAABkCYTHOG8chz_gnvgOqdGYovxyjuqRyJFjEDyoF1Fvkj6hQPdPHI51OEUKEpgz3SsLWIqS_uA")
	if got, err := webpushtest.Decode(two, decode(t, "BO3ZVPxUlnLORbVGMpbT1Q")); err != nil || string(got) != "I am the walrus" {
		t.Errorf("decoded %q, %v", got, err)
	}
}

func TestBrowserOpensWhatIsSealed(t *testing.T) {
	browser, err := webpushtest.New()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSubscription(browser.Pushkey(), browser.Auth())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, n := range []int{0, 1, 100, MaxPlaintext} {
		message := bytes.Repeat([]byte("é"), n)[:n]
		body, err := s.Seal(nil, message)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := browser.Open(body); err != nil || !bytes.Equal(got, message) {
			t.Errorf("%d bytes: opened %d bytes, %v", n, len(got), err)
		}
		if len(body) != n+MaxBody-MaxPlaintext || seen[string(body[:headerBytes])] {
			t.Errorf("%d bytes: %d bytes sealed; salt and key are new: %v", n, len(body), !seen[string(body[:headerBytes])])
		}
		seen[string(body[:headerBytes])] = true
		body[len(body)-1] ^= 1
		if _, err := browser.Open(body); err == nil {
			t.Error("a changed body was opened")
		}
	}
	if _, err := s.Seal(nil, make([]byte, MaxPlaintext+1)); err == nil || MaxPlaintext != 3993 {
		t.Errorf("sealed more than %d bytes", MaxPlaintext)
	}
}

// http_ece, the library of the RFCs' author, opens what is sealed.
func TestHTTPECEOpensWhatIsSealed(t *testing.T) {
	npm, err := exec.LookPath("npm")
	if err != nil || testing.Short() {
		t.Skip("needs npm, and the network once")
	}
	dir := t.TempDir()
	install := exec.CommandContext(t.Context(), npm, "install", "--no-audit", "--no-fund", "--fetch-retries=1", "http_ece@1.2.1")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("http_ece cannot be had: %v: %s", err, out)
	}
	browser, err := webpushtest.New()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSubscription(browser.Pushkey(), browser.Auth())
	if err != nil {
		t.Fatal(err)
	}
	const program = `
const ece = require("http_ece"), crypto = require("crypto"), raw = (s) => Buffer.from(s, "base64url");
const [key, auth, body] = process.argv.slice(1);
const privateKey = crypto.createECDH("prime256v1");
privateKey.setPrivateKey(raw(key));
process.stdout.write(ece.decrypt(raw(body), { version: "aes128gcm", privateKey, authSecret: auth }));`
	for _, message := range []string{"", "Dinner time! é", strings.Repeat("x", MaxPlaintext)} {
		body, err := s.Seal(nil, []byte(message))
		if err != nil {
			t.Fatal(err)
		}
		run := exec.CommandContext(t.Context(), "node", "-e", program, "--", browser.Private(), browser.Auth(), base64.RawURLEncoding.EncodeToString(body))
		run.Dir, run.Env = dir, append(run.Environ(), "NODE_PATH="+filepath.Join(dir, "node_modules"))
		if got, err := run.Output(); err != nil || string(got) != message {
			t.Errorf("%d bytes: http_ece opened %q, %v", len(message), got, err)
		}
	}
}

func TestBadSubscriptionIsRefused(t *testing.T) {
	point := decode(t, rfcUAPublic)
	compressed := append([]byte{2}, point[1:33]...)
	off := bytes.Clone(point)
	off[64] ^= 1
	infinity := make([]byte, 65)
	encode := base64.RawURLEncoding.EncodeToString
	for name, pushkey := range map[string]string{
		"empty": "", "padded": rfcUAPublic + "=", "not base64url": strings.Replace(rfcUAPublic, "_", "/", 1), "short": rfcUAPublic[:86],
		"long": rfcUAPublic + "A", "compressed": encode(compressed), "not on the curve": encode(off), "no point": encode(infinity),
		"spare bits": rfcUAPublic[:86] + "5", "line break": rfcUAPublic[:40] + "\n" + rfcUAPublic[40:],
	} {
		if _, err := ParseSubscription(pushkey, rfcAuth); !errors.Is(err, ErrPushkey) {
			t.Errorf("pushkey %s: %v", name, err)
		}
	}
	for name, auth := range map[string]string{
		"empty": "", "padded": rfcAuth + "==", "short": rfcAuth[:20], "long": rfcAuth + "AAAA", "spare bits": rfcAuth[:21] + "h", "not base64url": "+" + rfcAuth[1:],
		"line break": rfcAuth[:21] + "\n" + rfcAuth[21:],
	} {
		if _, err := ParseSubscription(rfcUAPublic, auth); !errors.Is(err, ErrAuth) {
			t.Errorf("auth %s: %v", name, err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	s, err := ParseSubscription(rfcUAPublic, rfcAuth)
	if err != nil {
		b.Fatal(err)
	}
	message := bytes.Repeat([]byte("x"), 800)
	var body []byte
	b.ReportAllocs()
	for b.Loop() {
		if body, err = s.Seal(body[:0], message); err != nil {
			b.Fatal(err)
		}
	}
}
