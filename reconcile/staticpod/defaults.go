package staticpod

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// setDefaults fills in what the kubelet takes for granted in a pod, as far as
// people write it out by hand. Field documentation of core/v1.
func setDefaults(pod *corev1.Pod) {
	s := &pod.Spec
	orElse(&s.RestartPolicy, corev1.RestartPolicyAlways)
	orElse(&s.DNSPolicy, corev1.DNSClusterFirst)
	orElse(&s.SchedulerName, corev1.DefaultSchedulerName)
	orElse(&s.EnableServiceLinks, ptr.To(corev1.DefaultEnableServiceLinks))
	orElse(&s.TerminationGracePeriodSeconds, ptr.To(int64(corev1.DefaultTerminationGracePeriodSeconds)))
	for i := range s.Containers {
		c := &s.Containers[i]
		orElse(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
		orElse(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
		for j := range c.Ports {
			orElse(&c.Ports[j].Protocol, corev1.ProtocolTCP)
			if s.HostNetwork {
				orElse(&c.Ports[j].HostPort, c.Ports[j].ContainerPort)
			}
		}
		for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
			if p == nil {
				continue
			}
			orElse(&p.TimeoutSeconds, 1)
			orElse(&p.PeriodSeconds, 10)
			orElse(&p.SuccessThreshold, 1)
			orElse(&p.FailureThreshold, 3)
			if p.HTTPGet != nil {
				orElse(&p.HTTPGet.Scheme, corev1.URISchemeHTTP)
			}
		}
		for j := range c.Env {
			if v := c.Env[j].ValueFrom; v != nil && v.FieldRef != nil {
				orElse(&v.FieldRef.APIVersion, "v1")
			}
		}
	}
}

func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
