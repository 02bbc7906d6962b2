package cli

import (
	"cmp"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
)

// printJoin is where a user of kubeadm's flags gets them from.
const printJoin = "`kubeadm token create --print-join-command` on a control plane prints HOST:PORT, token and hash"

// inFlags says an error in the words of the flags: who typed nothing else knows
// no fields of a configuration.
func (f *joinFlags) inFlags(err error, join *load.Join) error {
	var problems load.Problems
	if errors.As(err, &problems) {
		return f.problemsInFlags(problems, join)
	}
	e, ok := err.(*fault.Error) //nolint:errorlint // one inside of others has no address that is printed
	if !ok {
		return err
	}
	text := func(s string) string { return f.words(s, join) }
	said := fault.New(e.Class, "%s", text(e.Err.Error())).At(text(e.Address))
	said.Hint = text(fault.HintOf(err))
	return said
}

// words replaces the fields in a text by the flags for them.
func (f *joinFlags) words(s string, join *load.Join) string {
	return word.ReplaceAllStringFunc(s, func(w string) string {
		if flag := f.flagFor(w, join); flag != "" {
			return flag
		}
		return w
	})
}

// word matches what can be a field of the configuration as a whole; a file's name
// that contains one's is another word.
var word = regexp.MustCompile(`[^\s,;:()"]+`)

func (f *joinFlags) problemsInFlags(problems load.Problems, join *load.Join) error {
	said := make(load.Problems, len(problems))
	hint := ""
	token := join.Config.Discovery.BootstrapToken
	for i, p := range problems {
		if strings.HasPrefix(p.Path, "discovery.bootstrapToken") {
			hint = printJoin
		}
		switch {
		case p.Path == "discovery":
			p.Path, p.Message = "", "HOST:PORT and --discovery-file exclude each other"
		case p.Path == "discovery.bootstrapToken.caCertHashes" && len(token.CACertHashes) == 0:
			p.Message = "is missing: without it, anybody who knows the token can pretend to be the cluster" +
				" (--discovery-token-unsafe-skip-ca-verification takes that risk)"
		case p.Path == "discovery.bootstrapToken.token" && token.Token == "":
			p.Message = "is missing"
		}
		p.Hint = f.words(p.Hint, join)
		if flag := f.flagFor(p.Path, join); flag != "" {
			p.Path = flag
		}
		said[i] = p
	}
	e := fault.New(fault.InvalidConfig, "%w", said)
	e.Hint = hint
	return e
}

// flagFor names the flag for a field: the one that set it, or the one that
// would. It is empty for a field that no flag sets.
func (f *joinFlags) flagFor(path string, join *load.Join) string {
	if flag := f.flagOf(path, join); flag != "" {
		return flag
	}
	field, _, _ := strings.Cut(path, "[")
	switch field {
	case "discovery.bootstrapToken", "discovery.bootstrapToken.apiServerEndpoint":
		return endpointArgument
	case "discovery.bootstrapToken.token":
		return "--token"
	case "discovery.bootstrapToken.caCertHashes":
		return "--discovery-token-ca-cert-hash"
	case "discovery.tlsBootstrapToken":
		return "--tls-bootstrap-token"
	case "discovery.file", "discovery.file.kubeConfigPath":
		return "--discovery-file"
	case "nodeRegistration.name":
		return "--node-name"
	case "nodeRegistration.criSocket":
		return "--cri-socket"
	case "controlPlane":
		return "--control-plane"
	case "controlPlane.localAPIEndpoint.advertiseAddress":
		return "--apiserver-advertise-address"
	case "controlPlane.localAPIEndpoint.bindPort":
		return "--apiserver-bind-port"
	case "controlPlane.certificateKey":
		return "--certificate-key"
	}
	return "" // what else has a flag is never missing
}

// endpointArgument is what the argument is called that says where the cluster is.
const endpointArgument = "HOST:PORT"

// flagOf names the flag, or "$" and the environment variable, that set a field;
// empty if none did.
func (f *joinFlags) flagOf(path string, join *load.Join) string {
	given := func(name string) string {
		if f.cmd.Flags().Changed(name) {
			return "--" + name
		}
		return ""
	}
	switch field, rest, _ := strings.Cut(path, "["); field {
	case "discovery.file", "discovery.file.kubeConfigPath":
		return given("discovery-file")
	case "discovery.bootstrapToken", "discovery.bootstrapToken.apiServerEndpoint":
		if f.endpoint != "" {
			return endpointArgument
		}
	case "discovery.bootstrapToken.token":
		return cmp.Or(f.discoveryToken.from, f.token.from)
	case "discovery.bootstrapToken.caCertHashes":
		return given("discovery-token-ca-cert-hash")
	case "discovery.bootstrapToken.unsafeSkipCAVerification":
		return given("discovery-token-unsafe-skip-ca-verification")
	case "discovery.tlsBootstrapToken":
		return cmp.Or(f.tlsToken.from, f.token.from, f.discoveryToken.from)
	case "nodeRegistration.name":
		return given("node-name")
	case "nodeRegistration.criSocket":
		return given("cri-socket")
	case "nodeRegistration.ignorePreflightErrors":
		// The flag's names stand behind those of the file.
		all, own := len(join.Config.NodeRegistration.IgnorePreflightErrors), len(f.ignorePreflightErrors)
		if i, err := strconv.Atoi(strings.TrimSuffix(rest, "]")); err == nil && i < all-own {
			return ""
		}
		return given("ignore-preflight-errors")
	case "patches", "patches.directory":
		return given("patches")
	case "skipPhases":
		return given("skip-phases")
	case "controlPlane":
		return given("control-plane")
	case "controlPlane.localAPIEndpoint.advertiseAddress":
		return given("apiserver-advertise-address")
	case "controlPlane.localAPIEndpoint.bindPort":
		return given("apiserver-bind-port")
	case "controlPlane.certificateKey":
		return f.certificateKey.from
	case "dryRun":
		return given("dry-run")
	}
	return ""
}
