package host

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// watchPoll is how often files are looked at when the kernel has no inotify
// instance left: on a busy node other programs use up fs.inotify.max_user_instances.
const watchPoll = time.Second

// Watch tells when any of the files or directories may have changed, also when
// one is made later, or when a link on the way to it changes. Events are merged,
// and some come without a cause: look again at each. The watch stands when Watch
// returns; the channel is closed when ctx ends. What this user may not read
// gives no events.
func (h *Host) Watch(ctx context.Context, paths ...string) (<-chan struct{}, error) {
	for _, path := range paths {
		if _, err := h.resolve(path); err != nil && !errors.Is(err, fs.ErrPermission) {
			return nil, failed("watch", path, err)
		}
	}
	changed := make(chan struct{}, 1)
	w, err := fsnotify.NewWatcher()
	if err != nil {
		go poll(ctx, changed)
		return changed, nil
	}
	interest, err := h.arm(w, paths)
	if err != nil {
		_ = w.Close() // nothing is lost with it
		go poll(ctx, changed)
		return changed, nil
	}
	go func() {
		defer close(changed)
		defer w.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-w.Events:
				if !interest.concerns(e.Name) {
					continue
				}
			case <-w.Errors: //nolint:errcheck // such as an overflow: events are missing
			}
			if next, err := h.arm(w, paths); err == nil {
				interest = next
			}
			notify(changed)
		}
	}()
	return changed, nil
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting already
	}
}

func poll(ctx context.Context, changed chan<- struct{}) {
	defer close(changed)
	t := time.NewTicker(watchPoll)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			notify(changed)
		}
	}
}

// interest is the names that matter, by directory; "*" is all of them.
type interest map[string]map[string]bool

func (i interest) add(dir, name string) {
	if i[dir] == nil {
		i[dir] = map[string]bool{}
	}
	i[dir][name] = true
}

func (i interest) concerns(path string) bool {
	names := i[filepath.Dir(path)]
	return names[filepath.Base(path)] || names["*"] || i[path] != nil
}

func (i interest) equal(j interest) bool {
	return maps.EqualFunc(i, j, maps.Equal)
}

// interest follows the paths: each step can change where they lead, so each
// directory on the way is watched for the next step's name.
func (h *Host) interest(paths []string) interest {
	i := interest{}
	for _, path := range paths {
		p, _ := h.resolve(path) // as far as it can be followed
		for _, name := range p.trail {
			full := filepath.Join(h.dir, name)
			i.add(filepath.Dir(full), filepath.Base(full))
		}
		if p.info != nil && p.info.IsDir() {
			i.add(filepath.Join(h.dir, p.name), "*")
		}
	}
	return i
}

// arm watches what is of interest, until nothing changed between looking and
// watching. inotify takes a path of the whole machine: a link that somebody
// puts there in between can cause needless events, and those are only a reason
// to look again through the root.
func (h *Host) arm(w *fsnotify.Watcher, paths []string) (interest, error) {
	var seen interest
	for range maxLinks {
		now := h.interest(paths)
		if seen != nil && now.equal(seen) {
			break
		}
		seen = now
		for dir := range now {
			err := w.Add(dir) // again if it is another directory with that name
			if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM) {
				return nil, err
			}
		}
		for _, dir := range w.WatchList() {
			if now[dir] == nil {
				_ = w.Remove(dir) // it may be gone already
			}
		}
	}
	return seen, nil
}
