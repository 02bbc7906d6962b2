package kubeadm

import "fmt"

// Format keeps the token out of every fmt verb.
func (Discovery) Format(f fmt.State, _ rune) { fmt.Fprint(f, "Discovery(sensitive)") }

// Format keeps the token out of every fmt verb.
func (BootstrapTokenDiscovery) Format(f fmt.State, _ rune) {
	fmt.Fprint(f, "BootstrapTokenDiscovery(sensitive)")
}

// Format keeps the certificate key out of every fmt verb.
func (JoinControlPlane) Format(f fmt.State, _ rune) { fmt.Fprint(f, "JoinControlPlane(sensitive)") }

// Format keeps the token out of every fmt verb.
func (BootstrapToken) Format(f fmt.State, _ rune) { fmt.Fprint(f, "BootstrapToken(sensitive)") }

// Format keeps the tokens and the certificate key out of every fmt verb.
func (InitConfiguration) Format(f fmt.State, _ rune) { fmt.Fprint(f, "InitConfiguration(sensitive)") }
