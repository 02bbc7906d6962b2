package host

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/kubejoin/kubejoin/fault"
)

// What the machine lacks is found out while writing, too, and is the machine's
// fault.
func TestFailedIsClassified(t *testing.T) {
	path := func(err error) error { return &fs.PathError{Op: "write", Path: "x", Err: err} }
	tests := map[string]struct {
		err  error
		want fault.Class
		hint string
	}{
		"full":          {path(syscall.ENOSPC), fault.Preflight, "make room on the file system of /etc"},
		"over quota":    {path(syscall.EDQUOT), fault.Preflight, "make room on the file system of /etc"},
		"read-only":     {path(syscall.EROFS), fault.Preflight, "mount the file system of /etc writable"},
		"not permitted": {path(syscall.EACCES), fault.Preflight, "run as root"},
		"not owner":     {&os.LinkError{Op: "rename", Err: syscall.EPERM}, fault.Preflight, "run as root"},
		"broken":        {path(syscall.EIO), fault.Internal, ""},
		"odd":           {errors.New("odd"), fault.Internal, ""},
		"classified":    {fault.New(fault.Busy, "busy").WithHint("wait"), fault.Busy, "wait"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := failed("write", "/etc/x", tt.err)
			if fault.ClassOf(err) != tt.want || fault.HintOf(err) != tt.hint {
				t.Errorf("%v: %s, %q", err, fault.ClassOf(err), fault.HintOf(err))
			}
		})
	}
}
