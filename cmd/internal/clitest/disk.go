package clitest

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"poked/events"
)

// SmallDisk mounts a disk of size bytes for the test.
func SmallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("this test needs a small disk, and mounting one is not permitted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// FillDisk writes a file until its disk is full.
func FillDisk(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1 << 20, 4096} {
		for block := make([]byte, size); ; {
			if _, err := file.Write(block); err != nil {
				break
			}
		}
	}
	_ = file.Close() // the content does not matter
}

// Pour publishes events until NATS fails to store one. It fails the test if NATS stores 200 MB.
func Pour(t *testing.T, nc *nats.Conn) {
	t.Helper()
	body := strings.Repeat("x", 100_000) + `"}}`
	for n := range 2000 {
		event := fmt.Sprintf(`{"event_id":"$pour%d","room_id":"!pour:x","type":"m.room.message","sender":"@bob:x","content":{"body":"`, n) + body
		subject := "room." + events.Token(events.RoomID("!pour:x")) + ".event"
		answer, err := nc.Request(subject, []byte(event), 2*time.Second)
		if err != nil || bytes.Contains(answer.Data, []byte(`"error"`)) {
			return
		}
	}
	t.Fatal("every event was stored")
}
