package node

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/reconcile/host/cri"
)

// A pod whose manifest was removed serves until the kubelet has ended it: that
// is no sign that the manifest which came back does.
func TestStaticPodLeaving(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	c.started(c.pod.Want)
	if err := os.Remove(filepath.Join(c.root, schedulerManifest)); err != nil {
		t.Fatal(err)
	}
	c.kubelet.ignores = true
	time.AfterFunc(time.Second, func() {
		k := c.kubelet
		k.mu.Lock()
		defer k.mu.Unlock()
		k.pods[0].Ready, k.pods[0].Containers[0].State = false, cri.Exited
		k.manifest, k.ignores = nil, false // and the same pod begins anew
	})
	c.applied()
	if pods := c.kubelet.pods; len(pods) != 2 || running(pods) == nil {
		t.Errorf("%+v", pods)
	}
}
