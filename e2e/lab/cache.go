package lab

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CacheDir is where slow results and the directories of runs are kept: $KUBEJOIN_LAB_CACHE or
// /var/cache/kubejoin-lab. It needs 10 GB.
func CacheDir() string {
	return cmp.Or(os.Getenv("KUBEJOIN_LAB_CACHE"), "/var/cache/kubejoin-lab")
}

// cached returns the directory of the cache entry with this name and recipe, and lets build
// fill it if there is none. The recipe is whatever decides the content; a different recipe is a
// different entry. Builders get a temporary directory that is renamed when they succeed, so that an
// interrupted build leaves no entry; two processes never build the same entry at once.
func cached(name string, recipe any, build func(dir string) error) (string, error) {
	text, err := json.Marshal(recipe)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	entry := filepath.Join(CacheDir(), name+"-"+hex.EncodeToString(sum[:6]))
	lock, err := waitLock(entry + ".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if _, err := os.Stat(entry); !errors.Is(err, fs.ErrNotExist) {
		return entry, err
	}
	tmp := entry + ".tmp"
	// An interrupted debootstrap leaves the host's /proc in there.
	if err := errors.Join(unmountBelow(tmp), os.RemoveAll(tmp)); err != nil {
		return "", err
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return "", err
	}
	if err := step("build "+filepath.Base(entry), func() error { return build(tmp) }); err != nil {
		return "", errors.Join(err, unmountBelow(tmp))
	}
	return entry, os.Rename(tmp, entry)
}

// waitLock locks a file, which it makes if need be, against other processes until it is closed.
func waitLock(name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}
