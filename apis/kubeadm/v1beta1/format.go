package v1beta1

import "fmt"

// Format keeps the token out of every fmt verb.
func (Discovery) Format(f fmt.State, _ rune) { fmt.Fprint(f, "Discovery(sensitive)") }

// Format keeps the token out of every fmt verb.
func (BootstrapTokenDiscovery) Format(f fmt.State, _ rune) {
	fmt.Fprint(f, "BootstrapTokenDiscovery(sensitive)")
}

// Format keeps the token out of every fmt verb.
func (BootstrapToken) Format(f fmt.State, _ rune) { fmt.Fprint(f, "BootstrapToken(sensitive)") }

// Format keeps the tokens out of every fmt verb.
func (InitConfiguration) Format(f fmt.State, _ rune) { fmt.Fprint(f, "InitConfiguration(sensitive)") }
