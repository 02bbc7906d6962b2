// Package defaults has what the static defaults of all versions are made of. It
// must never look at the machine, the network or the clock.
package defaults

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// Set gives a field its default if it is zero.
func Set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Pointer gives a field its default if it is absent.
func Pointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// Duration gives a field its default if it is absent.
func Duration(field **metav1.Duration, value time.Duration) {
	Pointer(field, metav1.Duration{Duration: value})
}

// Token gives a bootstrap token its lifetime, unless it says when it expires,
// and what it is for.
func Token(ttl **metav1.Duration, expires *metav1.Time, usages, groups *[]string) {
	if expires == nil {
		Duration(ttl, kubeadm.DefaultTokenTTL)
	}
	if len(*usages) == 0 {
		*usages = kubeadm.DefaultTokenUsages()
	}
	if len(*groups) == 0 {
		*groups = []string{kubeadm.DefaultTokenGroup}
	}
}

// Envs sets what the API server would set in a pod; without it a static pod
// differs from its mirror.
func Envs(envs []corev1.EnvVar) {
	for _, env := range envs {
		if env.ValueFrom != nil && env.ValueFrom.FieldRef != nil {
			Set(&env.ValueFrom.FieldRef.APIVersion, "v1")
		}
	}
}
