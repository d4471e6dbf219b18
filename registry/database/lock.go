package database

import (
	"errors"

	"github.com/gofrs/flock"
)

// ErrInUse reports that another process uses the database, where only one may.
var ErrInUse = errors.New("another registry has it open")

// lockFile locks the file at path against a second process. The kernel releases the lock
// when the process ends, whatever the cause. The file itself stays: removing it would let
// two processes lock two files of the same name.
func lockFile(path string) (*flock.Flock, error) {
	lock := flock.New(path)
	locked, err := lock.TryLock()
	if err == nil && !locked {
		err = ErrInUse
	}
	if err != nil {
		return nil, err
	}
	return lock, nil
}
