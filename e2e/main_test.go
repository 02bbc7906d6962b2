package e2e

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// fixture is the lab and the cluster that all cases share. It is made when the first case asks for it.
type fixture struct {
	*lab.Lab
	cluster *lab.Cluster
}

var shared = sync.OnceValues(func() (*fixture, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	base, err := lab.Prepare(ctx, lab.DefaultVersion)
	if err != nil {
		return nil, err
	}
	l, err := lab.New(ctx, base)
	if err != nil {
		return nil, err
	}
	canary = &l.Canary
	cluster, err := l.Init(ctx, "cp1")
	return &fixture{l, cluster}, err
})

// canary is checked when all cases have ended.
var canary *lab.Canary

func TestMain(m *testing.M) {
	os.Exit(lab.Main(func() int {
		code := m.Run()
		if canary == nil { // no case ran
			return code
		}
		if err := canary.Check(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}))
}

// use returns the fixture.
func use(t *testing.T) *fixture {
	t.Helper()
	f, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// boot returns a fresh machine that ends with the test, and its Node with it.
func (f *fixture) boot(t *testing.T, name string, role lab.Role) *lab.Machine {
	t.Helper()
	m, err := f.Boot(t.Context(), name, role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if _, err := f.cluster.Kubectl(ctx, "delete node --ignore-not-found "+name); err != nil {
			t.Error(err)
		}
	})
	return m
}

// must ends the test if a command failed.
func must(t *testing.T, r lab.Result) lab.Result {
	t.Helper()
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return r
}
