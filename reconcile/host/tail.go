package host

import (
	"fmt"
	"io"
	"io/fs"
)

// ReadTail reads the last bytes of a regular file, at most max. The data is nil
// if nothing is there; a file that may not be read is an error.
func (h *Host) ReadTail(path string, max int64) ([]byte, error) {
	f, s, err := h.look(path)
	if f != nil {
		defer f.Close()
	}
	switch {
	case err != nil:
		return nil, err
	case s.Denied:
		return nil, failed("read", path, fs.ErrPermission)
	case s.Kind == None || s.Kind == Link:
		return nil, nil
	case s.Kind != File || f == nil:
		return nil, failed("read", path, fmt.Errorf("a %s, not a file", s.Kind.noun()))
	}
	if s.Size > max {
		if _, err := f.Seek(-max, io.SeekEnd); err != nil {
			return nil, failed("read", path, err)
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, max))
	if err != nil {
		return nil, failed("read", path, err)
	}
	return data, nil
}
