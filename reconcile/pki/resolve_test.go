package pki

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
)

// where gives the origin of each file by its name in the Secret.
func where(s *Shared) map[string]Origin {
	out := map[string]Origin{}
	for _, f := range s.Files {
		out[f.SecretKey] = f.Origin
	}
	return out
}

// origins are those of a whole set: all the same but for some.
func origins(all Origin, but map[string]Origin) map[string]Origin {
	out := map[string]Origin{}
	for _, f := range SharedFiles(cluster()) {
		out[f.SecretKey] = all
	}
	maps.Copy(out, but)
	return out
}

// The rows of catalogue §9.4 and §9.5 C1, C2 and C4 that concern shared files,
// and what else can be missing or wrong.
func TestResolve(t *testing.T) {
	ours, theirs := set(t), set(t)
	all := slices.Collect(maps.Keys(ours))
	but := func(names ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(n string) bool { return slices.Contains(names, n) })
	}
	replaced := func(name string, content []byte) map[string]Disk {
		s := maps.Clone(ours)
		s[name] = content
		return onDisk(s)
	}
	bundle := func(change func(map[string][]byte)) map[string][]byte {
		s := maps.Clone(ours)
		change(s)
		return s
	}
	intact := func(map[string][]byte) {}
	path := func(name string) string {
		for _, f := range SharedFiles(cluster()) {
			if f.SecretKey == name {
				return f.Path
			}
		}
		t.Fatal(name)
		return ""
	}
	denied := func(names ...string) map[string]Disk {
		d := onDisk(ours)
		for _, n := range names {
			d[path(n)] = Disk{Denied: true}
		}
		return d
	}
	_, expiredCA, expiredKey := authority(t, "front-proxy-ca", now.Add(-1))
	expired := maps.Clone(ours)
	expired["front-proxy-ca.crt"], expired["front-proxy-ca.key"] = expiredCA, expiredKey
	leafCert, _, err := Issue(Identity{CommonName: "no CA"}, caOf(t, ours, "front-proxy-ca"), "ECDSA-P256", now, year)
	must(t, err)
	renewed := maps.Clone(ours)
	_, renewed["etcd-ca.crt"], _ = authorityWith(t, "etcd-ca", now.Add(10*year), caOf(t, ours, "etcd-ca").Key)

	tests := map[string]struct {
		disk   map[string]Disk
		bundle map[string][]byte
		key    bool // a certificate key is in the configuration
		used   Authority
		// want or errs, one "path: what" for each file that is told of
		want     map[string]Origin
		errs     []string
		hint     string
		external []Authority
		notes    []string
	}{
		"everything present":                    {disk: onDisk(ours), want: origins(OnDisk, nil)},
		"everything present, and uploaded":      {disk: onDisk(ours), bundle: ours, key: true, want: origins(OnDisk, nil)},
		"nothing present":                       {bundle: ours, key: true, want: origins(FromSecret, nil)},
		"a worker's CA":                         {disk: onDisk(ours, "ca.crt"), bundle: ours, key: true, want: origins(FromSecret, map[string]Origin{"ca.crt": OnDisk})},
		"a half-written set (C1)":               {disk: onDisk(ours, "ca.crt", "sa.key", "etcd-ca.key"), bundle: ours, key: true, want: origins(FromSecret, map[string]Origin{"ca.crt": OnDisk, "sa.key": OnDisk, "etcd-ca.key": OnDisk})},
		"a truncated key":                       {disk: replaced("ca.key", ours["ca.key"][:60]), bundle: ours, key: true, want: origins(OnDisk, map[string]Origin{"ca.key": FromSecret})},
		"ca.key without ca.crt":                 {disk: onDisk(ours, but("ca.crt")...), want: origins(OnDisk, map[string]Origin{"ca.crt": Discovery})},
		"sa.pub missing (C4)":                   {disk: onDisk(ours, but("sa.pub")...), want: origins(OnDisk, map[string]Origin{"sa.pub": Derived})},
		"sa.pub empty":                          {disk: replaced("sa.pub", nil), want: origins(OnDisk, map[string]Origin{"sa.pub": Derived})},
		"sa.pub of another key":                 {disk: replaced("sa.pub", theirs["sa.pub"]), errs: []string{"sa.pub: does not belong to sa.key"}, hint: "upload-certs"},
		"sa.pub of another key, uploaded":       {disk: replaced("sa.pub", theirs["sa.pub"]), bundle: ours, key: true, want: origins(OnDisk, map[string]Origin{"sa.pub": FromSecret})},
		"another sa.key":                        {disk: replaced("sa.key", theirs["sa.key"]), bundle: ours, key: true, want: origins(OnDisk, map[string]Origin{"sa.key": FromSecret}), notes: []string{"sa.key: holds another key"}},
		"the Secret has expired (C2)":           {disk: onDisk(ours, "ca.crt", "sa.pub"), key: true, errs: []string{"ca.key: is missing", "front-proxy-ca.crt: is missing", "front-proxy-ca.key: is missing", "sa.key: is missing", "etcd/ca.crt: is missing", "etcd/ca.key: is missing"}, hint: "upload-certs"},
		"an absent entry":                       {bundle: bundle(func(b map[string][]byte) { delete(b, "front-proxy-ca.crt") }), key: true, errs: []string{"front-proxy-ca.crt: is missing, and the Secret kubeadm-certs has no entry front-proxy-ca.crt"}},
		"an empty entry":                        {bundle: bundle(func(b map[string][]byte) { b["sa.key"] = nil }), key: true, errs: []string{"sa.key: is missing, and entry sa.key of the Secret kubeadm-certs is empty"}},
		"an empty entry that is on disk":        {disk: onDisk(ours, "sa.key"), bundle: bundle(func(b map[string][]byte) { b["sa.key"] = nil }), key: true, want: origins(FromSecret, map[string]Origin{"sa.key": OnDisk})},
		"the Secret of another cluster":         {bundle: theirs, key: true, errs: []string{"pki/ca.crt: entry ca.crt of the Secret kubeadm-certs holds the CA of another cluster"}},
		"the files of another cluster":          {disk: onDisk(theirs), errs: []string{"pki/ca.crt: holds the CA of another cluster", "pki/ca.key: does not belong to the certificate beside it"}},
		"those of another cluster, and ours":    {disk: onDisk(theirs), bundle: ours, key: true, want: origins(FromSecret, nil), notes: []string{"etcd/ca.crt: holds another CA", "front-proxy-ca.crt: holds another CA", "sa.key: holds another key"}},
		"the key of another certificate":        {disk: replaced("front-proxy-ca.key", theirs["front-proxy-ca.key"]), errs: []string{"front-proxy-ca.key: does not belong"}},
		"that key, and ours":                    {disk: replaced("front-proxy-ca.key", theirs["front-proxy-ca.key"]), bundle: ours, key: true, want: origins(OnDisk, map[string]Origin{"front-proxy-ca.key": FromSecret})},
		"a mixed Secret":                        {bundle: bundle(func(b map[string][]byte) { b["etcd-ca.key"] = theirs["etcd-ca.key"] }), key: true, errs: []string{"etcd/ca.key: entry etcd-ca.key of the Secret kubeadm-certs does not belong"}},
		"an expired CA":                         {disk: onDisk(expired), errs: []string{"front-proxy-ca.crt: expired on 2026-05-01"}},
		"an expired CA, and a new one":          {disk: onDisk(expired), bundle: ours, key: true, want: origins(OnDisk, map[string]Origin{"front-proxy-ca.crt": FromSecret, "front-proxy-ca.key": FromSecret})},
		"a certificate that is no CA":           {disk: replaced("front-proxy-ca.crt", leafCert), errs: []string{"front-proxy-ca.crt: does not begin with the certificate of a CA"}},
		"the same key in a newer certificate":   {disk: onDisk(ours), bundle: renewed, key: true, want: origins(OnDisk, nil)},
		"a CA bundle":                           {disk: replaced("ca.crt", slices.Concat(ours["ca.crt"], theirs["ca.crt"])), want: origins(OnDisk, nil), notes: []string{"ca.crt: holds a further CA"}},
		"ca.key not readable":                   {disk: denied("ca.key"), want: origins(OnDisk, map[string]Origin{"ca.key": Unread})},
		"no key readable (plan without root)":   {disk: denied("ca.key", "front-proxy-ca.key", "sa.key", "etcd-ca.key"), want: origins(OnDisk, map[string]Origin{"ca.key": Unread, "front-proxy-ca.key": Unread, "sa.key": Unread, "etcd-ca.key": Unread})},
		"a folder not readable":                 {disk: denied("etcd-ca.crt", "etcd-ca.key"), want: origins(OnDisk, map[string]Origin{"etcd-ca.crt": Unread, "etcd-ca.key": Unread})},
		"ca.key missing, all leaves present":    {disk: union(onDisk(ours, but("ca.key")...), others(t)), want: origins(OnDisk, map[string]Origin{"ca.key": ""}), external: []Authority{ClusterCA}},
		"… and a certificate key is given":      {disk: union(onDisk(ours, but("ca.key")...), others(t)), key: true, errs: []string{"pki/ca.key: is missing"}, hint: "leave out controlPlane.certificateKey"},
		"… and the Secret shows it is external": {disk: union(onDisk(ours, but("ca.key")...), others(t)), bundle: bundle(func(b map[string][]byte) { b["ca.key"] = nil }), key: true, want: origins(OnDisk, map[string]Origin{"ca.key": ""}), external: []Authority{ClusterCA}},
		"… and it was used here":                {disk: union(onDisk(ours, but("ca.key")...), others(t)), used: ClusterCA, errs: []string{"pki/ca.key: is missing although the controller manager here signs with it"}},
		"ca.key missing, one leaf key missing":  {disk: without(union(onDisk(ours, but("ca.key")...), others(t)), "/etc/kubernetes/pki/apiserver.key"), errs: []string{"pki/ca.key: is missing"}, hint: "if its CA is external, put the files that it has to sign here: /etc/kubernetes/pki/apiserver.key"},
		"ca.key missing, a kubeconfig missing":  {disk: without(union(onDisk(ours, but("ca.key")...), others(t)), SchedulerConf), errs: []string{"pki/ca.key: is missing"}, hint: SchedulerConf},
		"ca.key empty, all leaves present":      {disk: union(replaced("ca.key", nil), others(t)), errs: []string{"pki/ca.key: is empty"}},
		"two external CAs":                      {disk: union(onDisk(ours, but("front-proxy-ca.key", "etcd-ca.key")...), others(t)), want: origins(OnDisk, map[string]Origin{"front-proxy-ca.key": "", "etcd-ca.key": ""}), external: []Authority{EtcdCA, FrontProxyCA}},
		"sa.key missing, all leaves present":    {disk: union(onDisk(ours, but("sa.key")...), others(t)), errs: []string{"sa.key: is missing, and no controlPlane.certificateKey is given"}},
		"intact, uploaded by another hand":      {disk: onDisk(ours), bundle: bundle(intact), want: origins(OnDisk, nil)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			leaves, _, err := Leaves(input())
			must(t, err)
			s, err := Resolve(Sources{Cluster: cluster(), Disk: tt.disk, Bundle: tt.bundle, Discovered: ours["ca.crt"], CertificateKey: tt.key,
				KeyUsed: map[Authority]bool{tt.used: true}, Leaves: leaves, Kubeconfigs: Kubeconfigs(input()), Now: now})
			if len(tt.errs) > 0 {
				told(t, err, tt.errs)
				if !strings.Contains(fault.HintOf(err), tt.hint) {
					t.Errorf("hint %q", fault.HintOf(err))
				}
				noSecret(t, err.Error(), ours["ca.key"], ours["sa.key"], theirs["ca.key"], theirs["sa.key"])
				return
			}
			must(t, err)
			want := maps.Clone(tt.want)
			maps.DeleteFunc(want, func(_ string, o Origin) bool { return o == "" })
			if diff := cmp.Diff(want, where(s)); diff != "" {
				t.Error(diff)
			}
			var external []Authority
			for _, a := range slices.Sorted(maps.Keys(s.CAs)) {
				if s.CAs[a].External {
					external = append(external, a)
				}
			}
			slices.Sort(external)
			slices.Sort(tt.external)
			if diff := cmp.Diff(tt.external, external); diff != "" {
				t.Error(diff)
			}
			var notes []string
			for _, n := range s.Notes {
				notes = append(notes, n.Path+": "+n.Text)
			}
			slices.Sort(notes)
			if len(notes) != len(tt.notes) {
				t.Fatalf("notes %q", notes)
			}
			for i, n := range tt.notes {
				if !strings.Contains(notes[i], n) {
					t.Errorf("%q is not in %q", n, notes[i])
				}
			}
			fits(t, s, ours)
		})
	}
}

// fits proves that what was chosen is the cluster's, whatever lay on the disk.
func fits(t *testing.T, s *Shared, ours map[string][]byte) {
	t.Helper()
	for _, f := range s.Files {
		if f.Content == nil {
			continue
		}
		if d, ok := CompareShared(f.Kind, f.Content, ours[f.SecretKey]); !ok && d.Text != "holds an older certificate of the same key" {
			t.Errorf("%s %s", f.Path, d.Text)
		}
	}
	for a, ca := range s.CAs {
		if ca.Key != nil && !samePublic(ca.Key.Public(), ca.Certificates[0].PublicKey) {
			t.Errorf("%s: key and certificate are no pair", a)
		}
	}
}

func caOf(t *testing.T, set map[string][]byte, name string) *CA {
	t.Helper()
	certs, err := parseCertificates(set[name+".crt"])
	must(t, err)
	key, err := parseKey(set[name+".key"])
	must(t, err)
	return &CA{Certificates: certs, Key: key}
}

func without(disk map[string]Disk, path string) map[string]Disk {
	delete(disk, path)
	return disk
}

// told wants exactly one error for each of the texts, in their order.
func told(t *testing.T, err error, want []string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != len(want) {
		t.Fatalf("not %d errors: %v", len(want), err)
	}
	for i, e := range joined.Unwrap() {
		if !strings.Contains(e.Error(), want[i]) || fault.HintOf(e) == "" {
			t.Errorf("%q is not in %v, or no hint", want[i], e)
		}
	}
}

func TestResolveForAMachineThatIsNew(t *testing.T) {
	ours := set(t)
	s, err := Resolve(Sources{Cluster: cluster(), Bundle: ours, Now: now}) // discovery gave no CA
	must(t, err)
	if len(s.Files) != len(ours) {
		t.Errorf("%v", where(s))
	}
	if _, err := Resolve(Sources{Cluster: cluster(), Bundle: ours, Discovered: []byte("x"), Now: now}); fault.ClassOf(err) != fault.Untrusted {
		t.Error(err)
	}
	if _, err := Resolve(Sources{Cluster: cluster(), Discovered: ours["ca.crt"], BundleProblem: "the Secret kubeadm-certs does not exist", CertificateKey: true, Now: now}); err == nil ||
		strings.Count(err.Error(), "the Secret kubeadm-certs does not exist") != 6 {
		t.Error(err)
	}
}

func TestResolveWarnsOfACAThatEndsSoon(t *testing.T) {
	ours := set(t)
	_, ours["ca.crt"], ours["ca.key"] = authority(t, "ca", now.Add(100*24*3600e9))
	s, err := Resolve(Sources{Cluster: cluster(), Bundle: ours, Now: now})
	must(t, err)
	if len(s.Notes) != 1 || s.Notes[0].Text != "the CA expires in 100 days" {
		t.Errorf("%+v", s.Notes)
	}
}

func TestResolveExternalEtcd(t *testing.T) {
	c := cluster()
	c.Etcd.External = &kubeadm.ExternalEtcd{Endpoints: []string{"https://10.0.0.9:2379"}, CAFile: "/etcd/ca.crt", CertFile: "/etcd/client.crt", KeyFile: "/etcd/client.key"}
	ours := set(t)
	delete(ours, "etcd-ca.crt")
	delete(ours, "etcd-ca.key")
	ca, caPEM, _ := authority(t, "etcd", now.Add(year))
	_, otherCA, _ := authority(t, "etcd", now.Add(year))
	pair := func(until int) (cert, key []byte) {
		cert, key, err := Issue(Identity{CommonName: "client"}, ca, "ECDSA-P256", now.AddDate(0, 0, until-1), 24*3600e9)
		must(t, err)
		return cert, key
	}
	cert, key := pair(1)
	mine, mineKey := pair(1)
	old, oldKey := pair(-1)
	ours["external-etcd-ca.crt"], ours["external-etcd.crt"], ours["external-etcd.key"] = caPEM, cert, key
	tests := map[string]struct {
		ca, cert, key []byte
		noBundle      bool
		want          []Origin
		errs          []string
	}{
		"nothing here":              {want: []Origin{FromSecret, FromSecret, FromSecret}},
		"the same here":             {ca: caPEM, cert: cert, key: key, want: []Origin{OnDisk, OnDisk, OnDisk}},
		"a pair of its own":         {ca: caPEM, cert: mine, key: mineKey, want: []Origin{OnDisk, OnDisk, OnDisk}},
		"a pair for another etcd":   {ca: otherCA, cert: mine, key: mineKey, want: []Origin{FromSecret, FromSecret, FromSecret}},
		"no pair":                   {ca: caPEM, cert: mine, key: key, want: []Origin{OnDisk, FromSecret, OnDisk}},
		"expired":                   {ca: caPEM, cert: old, key: oldKey, want: []Origin{OnDisk, FromSecret, FromSecret}},
		"by hand, without a Secret": {ca: caPEM, cert: mine, key: mineKey, noBundle: true, want: []Origin{OnDisk, OnDisk, OnDisk}},
		"a key missing, no Secret":  {ca: caPEM, cert: mine, noBundle: true, errs: []string{"client.key: is missing"}},
		"no pair, no Secret":        {ca: caPEM, cert: mine, key: key, noBundle: true, errs: []string{"client.key: does not belong"}},
		"all missing, no Secret":    {noBundle: true, errs: []string{"/etcd/ca.crt: is missing", "client.crt: is missing", "client.key: is missing"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := Sources{Cluster: c, Bundle: ours, Disk: onDisk(ours), Now: now}
			for path, content := range map[string][]byte{"/etcd/ca.crt": tt.ca, "/etcd/client.crt": tt.cert, "/etcd/client.key": tt.key} {
				if content != nil {
					s.Disk[path] = Disk{Content: content}
				}
			}
			if tt.noBundle {
				s.Bundle = nil
			}
			shared, err := Resolve(s)
			if len(tt.errs) > 0 {
				told(t, err, tt.errs)
				return
			}
			must(t, err)
			var got []Origin
			for _, f := range shared.Files {
				if strings.HasPrefix(f.SecretKey, "external") {
					got = append(got, f.Origin)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || len(shared.Files) != 9 {
				t.Errorf("%d files; %s", len(shared.Files), diff)
			}
		})
	}
	c.Etcd.External = &kubeadm.ExternalEtcd{Endpoints: []string{"http://10.0.0.9:2379"}} // without TLS
	if s, err := Resolve(Sources{Cluster: c, Bundle: ours, Now: now}); err != nil || len(s.Files) != 6 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestCompareShared(t *testing.T) {
	ours, theirs := set(t), set(t)
	older := func(key string) []byte {
		_, cert, _ := authorityWith(t, "x", now, caOf(t, ours, key).Key)
		return cert
	}
	tests := map[string]struct {
		kind       Kind
		have, want []byte
		text       string // empty: equal
		foreign    bool
		notes      int
	}{
		"the same CA":              {KindCA, ours["ca.crt"], ours["ca.crt"], "", false, 0},
		"comments and line ends":   {KindCA, slices.Concat([]byte("# mine\n"), ours["ca.crt"], []byte("\n\n")), ours["ca.crt"], "", false, 0},
		"a further CA":             {KindCA, slices.Concat(ours["ca.crt"], theirs["ca.crt"]), ours["ca.crt"], "", false, 1},
		"the right one second":     {KindCA, slices.Concat(theirs["ca.crt"], ours["ca.crt"]), ours["ca.crt"], "does not begin with the CA that signs", false, 0},
		"another CA":               {KindCA, theirs["ca.crt"], ours["ca.crt"], "holds the CA of another cluster", true, 0},
		"an older CA":              {KindCA, older("ca"), ours["ca.crt"], "holds an older certificate of the same key", false, 0},
		"an empty CA":              {KindCA, nil, ours["ca.crt"], "is empty", false, 0},
		"a cut off CA":             {KindCA, ours["ca.crt"][:200], ours["ca.crt"], "holds no certificate, or a broken one", false, 0},
		"the same key":             {KindKey, slices.Concat([]byte("\n"), ours["ca.key"]), ours["ca.key"], "", false, 0},
		"another key":              {KindKey, theirs["ca.key"], ours["ca.key"], "holds another key than the cluster's", true, 0},
		"a cut off key":            {KindKey, ours["ca.key"][:60], ours["ca.key"], "holds no private key, or a broken one", false, 0},
		"the same public key":      {KindPublicKey, ours["sa.pub"], ours["sa.pub"], "", false, 0},
		"a further public key":     {KindPublicKey, slices.Concat(theirs["sa.pub"], ours["sa.pub"]), ours["sa.pub"], "", false, 0},
		"another public key":       {KindPublicKey, theirs["sa.pub"], ours["sa.pub"], "lacks the public key of sa.key", false, 0},
		"no public key":            {KindPublicKey, []byte("x"), ours["sa.pub"], "holds no public key, or a broken one", false, 0},
		"another client's":         {KindClientCert, theirs["ca.crt"], ours["ca.crt"], "holds another certificate than the cluster's", true, 0},
		"the same client's, older": {KindClientCert, older("ca"), ours["ca.crt"], "holds an older certificate of the same key", false, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d, ok := CompareShared(tt.kind, tt.have, tt.want)
			if ok != (tt.text == "") || d.Text != tt.text || d.Foreign != tt.foreign || len(d.Notes) != tt.notes {
				t.Errorf("%t, %+v", ok, d)
			}
		})
	}
}
