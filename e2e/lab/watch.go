package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Event is something that was done to a file of a machine.
type Event struct {
	Path string // in the machine
	What string // create, modify, written, attributes, delete, moved-from, moved-to
}

func (e Event) String() string { return e.What + " " + e.Path }

var eventNames = []struct {
	mask uint32
	name string
}{
	{unix.IN_CREATE, "create"}, {unix.IN_MODIFY, "modify"}, {unix.IN_CLOSE_WRITE, "written"}, {unix.IN_ATTRIB, "attributes"},
	{unix.IN_DELETE, "delete"}, {unix.IN_MOVED_FROM, "moved-from"}, {unix.IN_MOVED_TO, "moved-to"}, {unix.IN_Q_OVERFLOW, "overflow"},
}

// Watch sees writes as they happen: also those that leave no trace, such as a temporary file that is
// removed again.
type Watch struct {
	machine *Machine
	file    *os.File
	dirs    map[int32]string // by watch descriptor, in the machine
	marker  string           // directory on the host: an event in it is the last one to read
	done    chan struct{}

	mu     sync.Mutex
	events []Event
	err    error
}

// Watch watches directories of the machine and everything below them until its Stop is called.
// What happens in a directory in its first moments may be missed, but not that it was made.
func (m *Machine) Watch(dirs ...string) (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	w := &Watch{machine: m, file: os.NewFile(uintptr(fd), "inotify"), dirs: map[int32]string{}, done: make(chan struct{})}
	w.marker, err = os.MkdirTemp(m.lab.run, "watch-") // which is swept with the run
	if err != nil {
		return nil, errors.Join(err, w.file.Close())
	}
	err = w.watch(w.marker, w.marker)
	for _, d := range dirs {
		err = errors.Join(err, w.add(d))
	}
	if err != nil {
		return nil, errors.Join(err, w.file.Close(), os.RemoveAll(w.marker))
	}
	go func() {
		defer close(w.done)
		w.read()
	}()
	return w, nil
}

// add watches a directory and those below it.
func (w *Watch) add(dir string) error {
	return filepath.WalkDir(w.machine.Path(dir), func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		return w.watch(name, strings.TrimPrefix(name, w.machine.Path("/")))
	})
}

// watch watches one directory of the host, whose events bear another path.
func (w *Watch) watch(dir, as string) error {
	var mask uint32 = unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW
	for _, e := range eventNames {
		mask |= e.mask &^ unix.IN_Q_OVERFLOW // which comes unasked
	}
	conn, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	var wd int
	var watchErr error
	if err := conn.Control(func(fd uintptr) { wd, watchErr = unix.InotifyAddWatch(int(fd), dir, mask) }); err != nil {
		return err
	}
	switch {
	case errors.Is(watchErr, fs.ErrNotExist): // gone since
		return nil
	case watchErr != nil:
		return fmt.Errorf("watch %s: %w", dir, watchErr)
	}
	w.dirs[int32(wd)] = as
	return nil
}

func (w *Watch) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			w.fail(err)
			return
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			raw := (*unix.InotifyEvent)(unsafe.Pointer(&rest[0]))
			end := unix.SizeofInotifyEvent + int(raw.Len)
			name := string(bytes.TrimRight(rest[unix.SizeofInotifyEvent:end], "\x00"))
			rest = rest[end:]
			if w.dirs[raw.Wd] == w.marker {
				return
			}
			path := filepath.Join(w.dirs[raw.Wd], name)
			for _, e := range eventNames {
				if raw.Mask&e.mask != 0 {
					w.mu.Lock()
					w.events = append(w.events, Event{path, e.name})
					w.mu.Unlock()
				}
			}
			if raw.Mask&unix.IN_ISDIR != 0 && raw.Mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 {
				if err := w.add(path); err != nil {
					w.fail(err)
				}
			}
		}
	}
}

func (w *Watch) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, err)
}

// Stop ends the watch and returns what it saw, in order. The kernel queues an event before the call that
// causes it returns, so nothing done before Stop is missed.
func (w *Watch) Stop() ([]Event, error) {
	err := os.WriteFile(filepath.Join(w.marker, "end"), nil, 0o600)
	if err == nil {
		<-w.done
	}
	err = errors.Join(err, w.file.Close(), os.RemoveAll(w.marker))
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events, errors.Join(w.err, err)
}
