package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/pushrules/pushgateway"
)

// webPush registers a web push pusher (MSC4174) whose push service it is itself, acknowledges it,
// prints "active", and ends with the body of the first message that is pushed to it.
func webPush(ctx context.Context, baseURL string, user id.UserID, token string) error {
	client, err := mautrix.NewClient(baseURL, user, token)
	if err != nil {
		return err
	}
	capabilities, err := client.Capabilities(ctx)
	if err != nil || !capabilities.WebPush.IsEnabled() {
		return fmt.Errorf("no capability of web push: %+v, %w", capabilities, err)
	}
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	auth := make([]byte, 16)
	_, _ = rand.Read(auth)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	pushes, failed := make(chan []byte, 10), make(chan error, 10)
	go func() {
		_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil && !strings.HasSuffix(r.Header.Get("Authorization"), ", k="+capabilities.WebPush.GetVAPIDKey()) {
				err = errors.New("the push is signed with another key than the capability has")
			}
			var message []byte
			if err == nil {
				message, err = decrypt(key, auth, body)
			}
			if err != nil {
				failed <- err
			} else {
				pushes <- message
			}
			w.WriteHeader(http.StatusCreated)
		}))
	}()
	kind := mautrix.PusherKindWebPush
	const app = "org.example.mautrix"
	err = client.SetPusher(ctx, &mautrix.Pusher{
		PushKey: base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes()), Kind: &kind, AppID: app,
		AppDisplayName: "Web", DeviceDisplayName: "Go", Language: "en",
		Data: mautrix.PusherData{"url": "http://" + listener.Addr().String() + "/push", "auth": base64.RawURLEncoding.EncodeToString(auth)},
	})
	if err != nil {
		return fmt.Errorf("set pusher: %w", err)
	}
	next := func(value any) error {
		select {
		case message := <-pushes:
			return json.Unmarshal(message, value)
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var asked mautrix.ReqAckWebPusher
	if err := next(&asked); err != nil {
		return fmt.Errorf("wait for the token: %w", err)
	}
	for _, active := range []bool{false, true} {
		list, err := client.GetPushers(ctx)
		if err != nil || len(list.Pushers) != 1 || list.Pushers[0].Activated != active {
			return fmt.Errorf("pushers, want activated %v: %+v, %w", active, list, err)
		}
		if err := client.AckWebPusher(ctx, &asked); err != nil { // twice does no harm
			return fmt.Errorf("acknowledge: %w", err)
		}
	}
	fmt.Println("active")
	for {
		var pushed pushgateway.PushNotification
		if err := next(&pushed); err != nil {
			return fmt.Errorf("wait for a message: %w", err)
		}
		var content struct {
			Body string `json:"body"`
		}
		if err := json.Unmarshal(pushed.Content, &content); err == nil && content.Body != "" {
			fmt.Println(content.Body)
			return nil
		}
	}
}

// decrypt opens a push of one record (RFC 8291).
func decrypt(key *ecdh.PrivateKey, auth, body []byte) ([]byte, error) {
	if len(body) < 86+17 {
		return nil, errors.New("the push is too short")
	}
	sender, err := ecdh.P256().NewPublicKey(body[21:86])
	if err != nil {
		return nil, err
	}
	shared, err := key.ECDH(sender)
	if err != nil {
		return nil, err
	}
	info := "WebPush: info\x00" + string(key.PublicKey().Bytes()) + string(sender.Bytes())
	secret, err := hkdf.Key(sha256.New, shared, auth, info, 32)
	if err != nil {
		return nil, err
	}
	derive := func(info string, n int) []byte {
		derived, _ := hkdf.Key(sha256.New, secret, body[:16], info, n)
		return derived
	}
	block, err := aes.NewCipher(derive("Content-Encoding: aes128gcm\x00", 16))
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open(nil, derive("Content-Encoding: nonce\x00", 12), body[86:], nil)
	if err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(strings.TrimRight(string(plain), "\x00"), "\x02")), nil
}
