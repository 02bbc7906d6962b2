// Package patch reads a directory of patches and applies them to generated
// documents: the kubelet's configuration and the control plane's pods.
//
// It reads only through the file system it is given, only in Load, and it must
// never write, look at the working directory or know where a document goes.
//
// File names follow target[suffix][+patchtype].(json|yaml). The reading is
// exact where kubeadm's is loose (behaviour catalogue §7): a name that kubeadm
// would ignore or read as another type is an error that says how to rename it,
// sub-directories are not descended into, and everything is parsed before
// anything on the machine changes.
package patch
