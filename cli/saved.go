package cli

import (
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/session"
)

// readSaved reads a saved plan; "-" is standard input.
func readSaved(ctx context.Context, path string, stdin io.Reader) (*reconcile.Saved, error) {
	name, data, err := session.ReadConfiguration(ctx, path, stdin)
	if err != nil {
		return nil, err
	}
	saved, err := reconcile.ParseSaved(data)
	if err != nil {
		return nil, fault.New(fault.ClassOf(err), "%w", err).At(name).WithHint("%s", fault.HintOf(err))
	}
	return saved, nil
}

// save writes the plan of a run to a file of the user's.
func (f *joinFlags) save(run *session.Run) error {
	in, err := f.input()
	if err != nil {
		return err
	}
	saved, err := run.Save(version, in)
	if err != nil {
		return err
	}
	data, err := saved.Marshal()
	if err != nil {
		return err
	}
	if err := (host.Local{}).WritePrivate(f.out, data); err != nil {
		return fault.New(fault.Preflight, "cannot write: %w", err).At(f.out).WithHint("look at the permissions of its directory")
	}
	return nil
}

// notItself refuses to save a plan over what it is made from.
func (f *joinFlags) notItself(join *load.Join, base string) error {
	if f.out == "" {
		return nil
	}
	inputs := []struct{ path, what string }{
		{f.config, "the configuration"}, {f.cluster, "the cluster file"}, {f.tokenFile, "the token's file"}, {f.certificateKeyFile, "the certificate key's file"},
	}
	if d := join.Config.Discovery.File; d != nil && (f.rootfs == "" || !filepath.IsAbs(d.KubeConfigPath)) {
		path := d.KubeConfigPath
		if !filepath.IsAbs(path) {
			path = filepath.Join(base, path)
		}
		inputs = append(inputs, struct{ path, what string }{path, "the discovery file"})
	}
	for _, in := range inputs {
		if in.path != "" && in.path != "-" && (host.Local{}).Same(f.out, in.path) {
			return fault.New(fault.InvalidConfig, "--out: the plan would replace %s, %s", in.what, in.path).WithHint("give the name of a file for the plan alone")
		}
	}
	return nil
}

// input is what a later apply has to be told again. Secrets are not part of it.
func (f *joinFlags) input() (reconcile.Input, error) {
	wd, err := os.Getwd()
	if err != nil {
		return reconcile.Input{}, err
	}
	in := reconcile.Input{Directory: wd, Endpoint: f.endpoint, Flags: map[string][]string{}}
	f.cmd.Flags().Visit(func(flag *pflag.Flag) {
		if !slices.Contains(notSaved, flag.Name) && !credential(flag) {
			in.Flags[flag.Name] = values(flag)
		}
	})
	return in, nil
}

// notSaved are flags that hold secrets, and those that say nothing of what is
// planned.
var notSaved = []string{
	"token", "discovery-token", "tls-bootstrap-token", "certificate-key",
	"out", "detailed-exitcode", "dry-run", "output", "color", "help", verbosity,
}

// pathFlags are those whose relative values start in the working directory.
var pathFlags = []string{"config", "rootfs", "cluster", "patches", "discovery-file", "token-file", "certificate-key-file"}

// credential tells whether the URL of a discovery file may be as good as a
// password: a pre-signed one is.
func credential(flag *pflag.Flag) bool {
	return flag.Name == "discovery-file" && strings.ContainsAny(flag.Value.String(), "?@")
}

func values(flag *pflag.Flag) []string {
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{flag.Value.String()}
}

// recall sets the flags as they were when the plan was saved, except those that
// are given anew.
func (f *joinFlags) recall(saved *reconcile.Saved) error {
	in := saved.Input
	if f.endpoint == "" {
		f.endpoint = in.Endpoint
	}
	fs, planned := f.cmd.Flags(), newPlan(&globals{}).Flags()
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(in.Flags)) {
		list, flag := in.Flags[name], fs.Lookup(name)
		// A file that somebody else may have written must not bring a flag of
		// apply's own, above all no --allow: destruction is asked for by whoever
		// applies.
		if flag == nil || planned.Lookup(name) == nil || slices.Contains(notSaved, name) {
			return misused("there is no flag --%s to be saved in a plan", name).WithHint("plan again; what only apply has, --allow for instance, is given to it")
		}
		if flag.Changed {
			continue
		}
		for _, value := range list {
			if name == "config" && value == "-" {
				return fault.New(fault.InvalidConfig, "the configuration of this plan came from standard input").WithHint("give it again with -f")
			}
			if slices.Contains(pathFlags, name) && value != "-" && !strings.Contains(value, "://") {
				// It stays relative: below --rootfs an absolute path is the machine's.
				if value, err = moveRelative(value, in.Directory, wd); err != nil {
					return err
				}
			}
			if list, ok := flag.Value.(pflag.SliceValue); ok {
				err = list.Append(value)
				flag.Changed = true
			} else {
				err = fs.Set(name, value)
			}
			if err != nil {
				return fault.New(fault.InvalidConfig, "--%s: %w", name, err)
			}
		}
	}
	return nil
}

// moveRelative gives a path that is relative to one directory as one that is
// relative to another.
func moveRelative(path, from, to string) (string, error) {
	if filepath.IsAbs(path) || from == to {
		return path, nil
	}
	return filepath.Rel(to, filepath.Join(from, path))
}

// withoutSecret adds to the error about a missing secret that a saved plan has none.
func withoutSecret(err error) error {
	if fault.ClassOf(err) != fault.InvalidConfig || fault.HintOf(err) != printJoin {
		return err
	}
	return fault.New(fault.InvalidConfig, "%w", err).WithHint("a saved plan holds no secret: give --token-file or %s again", tokenVariable)
}
