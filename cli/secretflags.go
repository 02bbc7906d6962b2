package cli

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/session"
)

// The environment variables that hold a secret.
const (
	tokenVariable          = "KUBEJOIN_TOKEN"
	certificateKeyVariable = "KUBEJOIN_CERTIFICATE_KEY"
)

// helpSecrets is the part of a command's help on the ways to give a secret.
const helpSecrets = `The arguments of a program can be seen by everybody on its machine. A token or
certificate key can therefore come from elsewhere. The first of these counts: the
flag (--token; "-" is standard input), the file (--token-file), the environment
(` + tokenVariable + `), the configuration; so too for --certificate-key,
--certificate-key-file and ` + certificateKeyVariable + `.`

// secret is a value that had better not stand on the command line.
type secret struct {
	value string
	from  string // "--token", "--token-file" or "$KUBEJOIN_TOKEN"; empty if none gave it
}

func (s secret) set(to *string) {
	if s.from != "" {
		*to = s.value
	}
}

// secretFlags are the flags for secrets, and what came of them.
type secretFlags struct {
	tokenFlag, discoveryTokenFlag, tlsTokenFlag, certificateKeyFlag string
	tokenFile, certificateKeyFile                                   string

	token, discoveryToken, tlsToken, certificateKey secret
}

func (s *secretFlags) addTokens(fs *pflag.FlagSet) {
	fs.StringVar(&s.tokenFlag, "token", "", `token for both discovery and TLS bootstrap, where those are not given; "-" reads it from standard input`)
	fs.StringVar(&s.tokenFile, "token-file", "", `file with the token of --token; "-" is standard input`)
	fs.StringVar(&s.discoveryTokenFlag, "discovery-token", "", "token that validates the cluster's information")
	fs.StringVar(&s.tlsTokenFlag, "tls-bootstrap-token", "", "token that the kubelet asks for its certificate with")
}

func (s *secretFlags) addCertificateKey(fs *pflag.FlagSet) {
	fs.StringVar(&s.certificateKeyFlag, "certificate-key", "", "key that decrypts the certificates which `kubeadm init phase upload-certs --upload-certs` put into the cluster; \"-\" reads it from standard input")
	fs.Lookup("certificate-key").Usage = strings.ReplaceAll(fs.Lookup("certificate-key").Usage, "`", "'") // pflag takes what is quoted so for the value's name
	fs.StringVar(&s.certificateKeyFile, "certificate-key-file", "", `file with the key of --certificate-key; "-" is standard input`)
}

// oneReader refuses a command line on which two things read standard input.
func (f *joinFlags) oneReader() error {
	first := ""
	for _, flag := range []struct{ name, value string }{
		{"the saved plan", f.planFile}, {"--config", f.config}, {"--cluster", f.cluster}, {"--token", f.tokenFlag}, {"--token-file", f.tokenFile},
		{"--discovery-token", f.discoveryTokenFlag}, {"--tls-bootstrap-token", f.tlsTokenFlag},
		{"--certificate-key", f.certificateKeyFlag}, {"--certificate-key-file", f.certificateKeyFile},
	} {
		switch {
		case flag.value != "-":
		case first != "":
			return fault.New(fault.InvalidConfig, "standard input cannot be both %s and %s", first, flag.name).
				WithHint("give a file for one of them")
		default:
			first = flag.name
		}
	}
	return nil
}

// resolve finds the secrets that the command line or the environment gives.
func (s *secretFlags) resolve(c *cobra.Command) (err error) {
	read := func(flag, path string) (secret, error) {
		_, data, err := session.ReadConfiguration(c.Context(), path, c.InOrStdin())
		if err != nil {
			return secret{}, err
		}
		value := strings.TrimSpace(string(data))
		if value == "" {
			return secret{}, fault.New(fault.InvalidConfig, "there is nothing in it").At(flag)
		}
		return secret{value, flag}, nil
	}
	for _, way := range []struct {
		to                                *secret
		flag, value, file, path, variable string
	}{
		{&s.token, "token", s.tokenFlag, "--token-file", s.tokenFile, tokenVariable},
		{&s.discoveryToken, "discovery-token", s.discoveryTokenFlag, "", "", ""},
		{&s.tlsToken, "tls-bootstrap-token", s.tlsTokenFlag, "", "", ""},
		{&s.certificateKey, "certificate-key", s.certificateKeyFlag, "--certificate-key-file", s.certificateKeyFile, certificateKeyVariable},
	} {
		*way.to = secret{}
		switch given := c.Flags().Changed(way.flag); {
		case given && way.value == "-":
			*way.to, err = read("--"+way.flag, "-")
		case given:
			*way.to = secret{way.value, "--" + way.flag}
		case way.path != "":
			*way.to, err = read(way.file, way.path)
		case way.variable != "" && os.Getenv(way.variable) != "":
			*way.to = secret{strings.TrimSpace(os.Getenv(way.variable)), "$" + way.variable}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
