//go:build stephook

package cli

import (
	"os"
	"syscall"

	"github.com/kubejoin/kubejoin/reconcile"
)

// stepHook ends the program as kill -9 would when a step of apply begins or has
// ended: KUBEJOIN_STEP=start:ADDRESS or done:ADDRESS. Only a program built with
// -tags stephook has it, for the cases that prove law 3.
func stepHook(e reconcile.Event) {
	if os.Getenv("KUBEJOIN_STEP") != string(e.Type)+":"+string(e.Address) {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until it arrives
}
