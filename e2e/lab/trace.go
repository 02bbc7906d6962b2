package lab

import (
	"context"
	"errors"
	"regexp"
	"strings"
)

// changing are the system calls that change something outside the process, those that open for
// writing among them. The question mark lets strace not know one.
var changing = "?" + strings.Join([]string{
	"open", "openat", "openat2", "creat", "mkdir", "mkdirat", "mknod", "mknodat", "unlink", "unlinkat", "rmdir",
	"rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat",
	"chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat",
	"utime", "utimes", "utimensat", "futimesat", "truncate", "ftruncate", "fallocate",
	"setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr",
	"mount", "umount2", "fsopen", "move_mount", "pivot_root", "swapon", "swapoff", "flock", "bind",
	"execve", "init_module", "finit_module", "delete_module", "sethostname", "settimeofday", "clock_settime", "reboot",
}, ",?")

var (
	opens    = regexp.MustCompile(`^(open|openat|openat2)\(`)
	forWrite = regexp.MustCompile(`O_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)`)
	// Devices that keep nothing, and the shell's own terminal.
	harmless = regexp.MustCompile(`"/dev/(null|tty|pts/\d+)"`)
	// A netlink socket gets a name for the answers to what the process asks the kernel, such as its addresses.
	netlink = regexp.MustCompile(`^bind\(\d+, \{sa_family=AF_NETLINK, nl_pid=0, nl_groups=0+\}`)
)

// Trace runs a shell command under strace and also returns the system calls by which it, or what it started,
// asked for a change, successful or not. Unlike a watch, it does not see what others did at the same time. The
// canary sees all calls: the arguments of programs, the names of files.
func (m *Machine) Trace(ctx context.Context, user, command string) (Result, []string, error) {
	const file = "/dev/shm/lab-trace"
	quoted := "'" + strings.ReplaceAll(command, "'", `'\''`) + "'"
	res := m.Run(ctx, "exec strace -f -qq -a 1 -s 4000 -u "+user+" -o "+file+" -e 'trace="+changing+"' -- /bin/bash -c "+quoted)
	data, err := m.ReadFile(file)
	if err != nil {
		return res, nil, errors.Join(err, res.Err())
	}
	m.lab.Canary.Saw(m.Name+": system calls of "+command, string(data))
	var calls []string
	for line := range strings.Lines(string(data)) {
		_, call, _ := strings.Cut(strings.TrimSpace(line), " ") // after the PID
		call = strings.TrimSpace(call)
		switch {
		case strings.HasPrefix(call, "---"), strings.HasPrefix(call, "+++"), strings.HasPrefix(call, "<..."):
			continue // signals, ends, and second halves of calls
		case strings.HasPrefix(call, "???("):
			// A thread that was killed by the end of its process before strace knew what it was
			// entering: no call was made. Trees and watches would show a change all the same.
			continue
		case strings.HasPrefix(call, "execve("):
			continue // what the other program does is traced too
		case opens.MatchString(call) && !forWrite.MatchString(call), harmless.MatchString(call), netlink.MatchString(call):
			continue
		}
		calls = append(calls, call)
	}
	return res, calls, m.Run(ctx, "rm "+file).Err()
}
