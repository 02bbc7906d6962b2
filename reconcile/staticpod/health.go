package staticpod

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The ports of components that are not told another one.
const (
	controllerManagerPort = 10257
	schedulerPort         = 10259
	etcdMetricsPort       = 2381
)

// HealthCheck is where a component tells whether it is well.
type HealthCheck struct {
	Scheme, Host, Port, Path string
}

// URL is its address.
func (h HealthCheck) URL() string {
	return (&url.URL{Scheme: h.Scheme, Host: net.JoinHostPort(h.Host, h.Port), Path: h.Path}).String()
}

// Health is where a static pod of this package answers health checks, by the
// arguments that are in effect after patches; of several with one name the last
// counts. Components serve it with certificates of their own making: nobody can
// verify them (behaviour catalogue §5.11). The pod must have the name of one of
// the four.
func Health(pod *corev1.Pod) HealthCheck {
	args := effectiveArgs(pod)
	get := func(name, otherwise string) string {
		if v := args[name]; v != "" {
			return v
		}
		return otherwise
	}
	switch pod.Name {
	case ControllerManager:
		return HealthCheck{"https", reachable(get("bind-address", "0.0.0.0")), get("secure-port", "10257"), "/healthz"}
	case Scheduler:
		return HealthCheck{"https", reachable(get("bind-address", "0.0.0.0")), get("secure-port", "10259"), "/livez"}
	case Etcd:
		first, _, _ := strings.Cut(args["listen-metrics-urls"], ",")
		h := HealthCheck{"http", "127.0.0.1", "2381", "/readyz"}
		if u, err := url.Parse(first); err == nil && u.Host != "" {
			h.Scheme, h.Host = u.Scheme, reachable(u.Hostname())
			if p := u.Port(); p != "" {
				h.Port = p
			}
		}
		return h
	}
	// By default the API server listens everywhere; the advertised address is
	// the one that the others use.
	host := args["advertise-address"]
	if bind := args["bind-address"]; bind != "" && specific(bind) != "" {
		host = bind
	}
	return HealthCheck{"https", reachable(host), get("secure-port", "6443"), "/livez"}
}

// reachable is an address to connect to; a wildcard is the machine itself.
func reachable(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil && address != "" {
		return address
	}
	switch {
	case err != nil:
		return "127.0.0.1"
	case ip.IsUnspecified() && ip.Is6():
		return "::1"
	case ip.IsUnspecified():
		return "127.0.0.1"
	}
	return address
}

// effectiveArgs are the arguments of the pod's own container by name.
func effectiveArgs(pod *corev1.Pod) map[string]string {
	out := map[string]string{}
	if c := own(pod); c != nil {
		for _, word := range words(c) {
			name, value, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
			out[name] = value
		}
	}
	return out
}

// own is the container with the pod's name, or the only one.
func own(pod *corev1.Pod) *corev1.Container {
	for i := range pod.Spec.Containers {
		if c := &pod.Spec.Containers[i]; c.Name == pod.Name || len(pod.Spec.Containers) == 1 {
			return c
		}
	}
	return nil
}

// words are what a container runs with: for a process there is no difference
// between its command and its arguments.
func words(c *corev1.Container) []string {
	all := append(append([]string(nil), c.Command...), c.Args...)
	if len(all) == 0 {
		return nil
	}
	return all[1:]
}
