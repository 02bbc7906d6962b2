package kubeadm

// MergeArgs lays arguments over built-in ones. One without a merge method
// removes every built-in one of its name; of several with one name the last
// one's method counts; one with a method whose name is not built in is dropped,
// and named in the second result. Behaviour catalogue §1.2.
func MergeArgs(base, extra []Arg) (args []Arg, dropped []string) {
	last := map[string]Arg{}
	for _, e := range extra {
		last[e.Name] = e
	}
	builtIn := map[string]bool{}
	for _, b := range base {
		builtIn[b.Name] = true
		e, found := last[b.Name]
		switch {
		case !found:
			args = append(args, b)
		case e.MergeMethod == MergeAppend:
			args = append(args, Arg{Name: b.Name, Value: b.Value + e.Value})
		case e.MergeMethod == MergePrepend:
			args = append(args, Arg{Name: b.Name, Value: e.Value + b.Value})
		}
	}
	for _, e := range extra {
		if e.MergeMethod == MergeReplace {
			args = append(args, e)
		} else if !builtIn[e.Name] {
			dropped = append(dropped, e.Name)
		}
	}
	return args, dropped
}
