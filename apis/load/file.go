package load

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	kubeproxyv1alpha1 "k8s.io/kube-proxy/config/v1alpha1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"

	"github.com/kubejoin/kubejoin/apis/internal/spell"
	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta2"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta3"
)

// File is all that a file holds.
type File struct {
	Name      string
	Documents []Document
	// Notes are on documents of other programs, which nobody looks into; one line
	// each, with its position.
	Notes []string

	form     Problems // what cannot be read
	added    Problems
	warnings Problems
}

// Document is one document of a File.
type Document struct {
	APIVersion, Kind string
	Pos              Position
	// Object is the internal version of a kind of kubeadm's, with its static
	// defaults: a *kubeadm.JoinConfiguration for example. For the kubelet and
	// kube-proxy it is their own type, without defaults. It is nil for anything
	// else.
	Object any

	positions map[string]Position
	argNames  map[string][]string
	form      Problems // this document's part of File.form
}

// component is a kind of another program that is often in the same file.
type component struct {
	apiVersion, kind string
	read             func(*decoder, *yaml.Node) any
}

func components() []component {
	return []component{
		{"kubelet.config.k8s.io/v1beta1", "KubeletConfiguration", readComponent[kubeletv1beta1.KubeletConfiguration]},
		{"kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration", readComponent[kubeproxyv1alpha1.KubeProxyConfiguration]},
	}
}

func readComponent[T any](d *decoder, root *yaml.Node) any {
	object := new(T)
	d.document(root, object)
	return object
}

// Load reads all documents of a file. There is always a File, with all that could
// be read. The error is Problems of class InvalidConfig: everything that cannot be
// read, and kinds that are there twice.
func Load(name string, data []byte) (*File, error) {
	f := &File{Name: name}
	if problems := checkSize(name, data); problems != nil {
		f.form = problems
		return f, f.form.err()
	}
	first := map[string]Position{}
	foreign, repeated := 0, 0
	var others []string
	problems := eachDocument(name, data, func(doc document) {
		read, ours := f.reader(doc)
		pos := position(name, doc.root)
		d := newDecoder(name)
		loaded := Document{APIVersion: doc.apiVersion, Kind: doc.kind, Pos: pos}
		switch {
		case read != nil:
			if at, twice := first[doc.kind]; twice {
				f.form.add(pos, "", "a second "+doc.kind, "the first one is at "+at.String())
				if repeated++; repeated > maxRepeated {
					break
				}
			} else {
				first[doc.kind] = pos
			}
			loaded.Object = read(d, doc.root)
			loaded.positions, loaded.argNames = d.positions, d.argNames
			loaded.form = slices.Concat(d.problems, d.surplus)
			f.addForm(loaded.form)
			f.age(doc)
		case !ours:
			if foreign++; foreign <= maxNotes {
				others = append(others, clean(fmt.Sprintf("%s at line %d", doc.kind, pos.Line)))
				f.Notes = append(f.Notes, clean(fmt.Sprintf("%s: %s of %s is not looked into", pos, doc.kind, doc.apiVersion)))
			}
		}
		f.Documents = append(f.Documents, loaded)
	})
	f.addForm(problems)
	if more := foreign - maxNotes; more > 0 {
		others = append(others, fmt.Sprintf("%d more", more))
		f.Notes = append(f.Notes, fmt.Sprintf("%s: %d more documents of other programs are not looked into", name, more))
	}
	switch {
	case len(f.form) > 0 || len(first) > 0:
	case len(others) > 0:
		f.form.add(Position{File: name}, "", "there is no configuration in the file, but "+strings.Join(others, ", "), "")
	default:
		f.form.add(Position{File: name}, "", "there is no configuration in the file: it is empty",
			fmt.Sprintf(`a configuration starts with "apiVersion: %s" and "kind: JoinConfiguration"`, current))
	}
	f.moveTimeout()
	return f, f.form.err()
}

// maxRepeated bounds the documents that are looked into although there is one of
// their kind already: some are a mistake, a thousand are not a configuration.
const maxRepeated = 10

// addForm appends within the bounds that add has.
func (f *File) addForm(problems Problems) {
	f.form = append(f.form, problems[:min(len(problems), maxProblems-len(f.form))]...)
}

// reader finds what reads a document; nil if nothing does. ours is false if the
// document is another program's.
func (f *File) reader(doc document) (read func(*decoder, *yaml.Node) any, ours bool) {
	if doc.group() == group {
		k, _ := findKind(f.Name, doc, &f.form)
		return k.read, true
	}
	for _, c := range components() {
		componentGroup, _, _ := strings.Cut(c.apiVersion, "/")
		near, _ := spell.Nearest(doc.kind, []string{c.kind})
		switch {
		case doc.apiVersion == c.apiVersion && doc.kind == c.kind:
			return c.read, true
		case doc.kind == c.kind:
			f.form.add(fieldPosition(f.Name, doc.root, "apiVersion"), "apiVersion",
				fmt.Sprintf("there is no %s in %q", c.kind, doc.apiVersion), "did you mean "+c.apiVersion+"?")
			return nil, true
		case doc.group() == componentGroup && near == c.kind:
			f.form.add(fieldPosition(f.Name, doc.root, "kind"), "kind", fmt.Sprintf("unknown kind %q", doc.kind),
				fmt.Sprintf("did you mean %q?", c.kind))
			return nil, true
		}
	}
	if doc.kind == "JoinConfiguration" {
		f.form.add(fieldPosition(f.Name, doc.root, "apiVersion"), "apiVersion",
			fmt.Sprintf("there is no JoinConfiguration in %q", doc.apiVersion), "did you mean "+current+"?")
		return nil, true
	}
	return nil, false
}

// age warns of a version or kind that is out of date, once for each.
func (f *File) age(doc document) {
	if doc.kind == clusterStatus {
		f.warnings.add(position(f.Name, doc.root), "", "ClusterStatus means nothing since Kubernetes 1.22", "remove the document")
		return
	}
	message := aged(doc.apiVersion)
	told := func(p Problem) bool { return p.Message == message }
	if message != "" && !slices.ContainsFunc(f.warnings, told) {
		f.warnings.add(fieldPosition(f.Name, doc.root, "apiVersion"), "apiVersion", message, "")
	}
}

// moveTimeout gives the InitConfiguration of an older version the timeout that
// the ClusterConfiguration had for it, as kubeadm does: behaviour catalogue §1.3.
func (f *File) moveTimeout() {
	var init *kubeadm.InitConfiguration
	var cluster *kubeadm.ClusterConfiguration
	for _, doc := range f.Documents {
		switch object := doc.Object.(type) {
		case *kubeadm.InitConfiguration:
			switch doc.APIVersion {
			case v1beta1.APIVersion, v1beta2.APIVersion, v1beta3.APIVersion:
				init = object
			}
		case *kubeadm.ClusterConfiguration:
			cluster = object
		}
	}
	if init == nil || cluster == nil {
		return
	}
	if timeout := cluster.APIServer.TimeoutForControlPlane; timeout != nil && *timeout > 0 { // otherwise it is a mistake, but not of init
		init.Timeouts.ControlPlaneComponentHealthCheck = *timeout
	}
}
