package etcd

import (
	"errors"
	"os"
	"testing"
)

// What etcdctl said of the member whose file it is.
const testCluster, testMember = 15118495548433857066, 13668033151171901709

// The file is the beginning of a WAL that etcd 3.7.0 wrote; the cases of e2e
// read those of running members.
func TestIdentify(t *testing.T) {
	head, err := os.ReadFile("testdata/wal-head")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Identify(head)
	if want := (Identity{ClusterID: testCluster, MemberID: testMember}); err != nil || got != want {
		t.Errorf("got %x, %v; want %x", got, err, want)
	}
	for name, bad := range map[string][]byte{
		"empty":                  nil,
		"only zeroes":            make([]byte, HeadSize),
		"cut in length":          head[:4],
		"cut in record":          head[:12],
		"cut after the checksum": head[:16],
		"text":                   []byte("this is not what etcd writes, whatever its name says"),
		"huge length":            append([]byte{255, 255, 255, 255, 255, 255, 255, 0}, head...),
	} {
		if got, err := Identify(bad); !errors.Is(err, ErrNoIdentity) {
			t.Errorf("%s: got %x, %v", name, got, err)
		}
	}
}

func FuzzIdentify(f *testing.F) {
	head, err := os.ReadFile("testdata/wal-head")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(head)
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = Identify(b) })
}
