package registry

import (
	"errors"

	"github.com/gofrs/flock"
)

// errInUse reports that another registry uses the database.
var errInUse = errors.New("another registry has it open")

// lockFile locks the file at path against a second registry, whose outbox could
// overwrite a newer value in NATS with an older one. The kernel releases the lock when
// the process ends, whatever the cause. The file itself stays: removing it would let
// two processes lock two files of the same name.
func lockFile(path string) (*flock.Flock, error) {
	lock := flock.New(path)
	locked, err := lock.TryLock()
	if err == nil && !locked {
		err = errInUse
	}
	if err != nil {
		return nil, err
	}
	return lock, nil
}
