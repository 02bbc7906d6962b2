package pki

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"maps"
	"slices"

	"github.com/kubejoin/kubejoin/fault"
)

// hintUpload is how to get what is missing. The Secret lives for two hours:
// behaviour catalogue §8.3.
const hintUpload = "`kubeadm init phase upload-certs --upload-certs` on a control plane uploads the files anew and prints a new key for controlPlane.certificateKey"

const (
	keySize   = 32 // AES-256
	nonceSize = 12
	tagSize   = 16
)

// DecodeCertificateKey reads controlPlane.certificateKey. The error has class
// fault.InvalidConfig and does not repeat it.
func DecodeCertificateKey(digits string) ([]byte, error) {
	key, err := hex.DecodeString(digits)
	if err != nil || len(key) != keySize {
		return nil, fault.New(fault.InvalidConfig, "must be %d hexadecimal digits, and is %d characters", 2*keySize, len(digits)).
			At("controlPlane.certificateKey").WithHint("%s", hintUpload)
	}
	return key, nil
}

// OpenBundle decrypts the data of the kubeadm-certs Secret: AES-256-GCM, the
// nonce first, no additional data (behaviour catalogue §8.3). A file that the
// control plane that uploaded it does not have is an empty entry, and stays one;
// whether one is missing is for Resolve to say. Every entry that does not open is named.
func OpenBundle(data map[string][]byte, key []byte) (map[string][]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil || len(key) != keySize {
		return nil, fault.New(fault.InvalidConfig, "is not %d bytes long", keySize).At("controlPlane.certificateKey")
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	out := make(map[string][]byte, len(data))
	var errs []error
	fail := func(name, why string) {
		errs = append(errs, fault.New(fault.Denied, "entry %s %s", name, why).At(secretAddress).WithHint("%s", hintUpload))
	}
	opened, closed := 0, 0
	for _, name := range slices.Sorted(maps.Keys(data)) {
		sealed := data[name]
		switch {
		case len(sealed) == 0:
			out[name] = []byte{}
			continue
		case len(sealed) < nonceSize+tagSize:
			fail(name, "is cut off")
			continue
		}
		content, err := gcm.Open(nil, sealed[:nonceSize], sealed[nonceSize:], nil)
		if err != nil {
			closed++
			fail(name, "does not open with the certificate key: it is damaged, or was encrypted with another one")
			continue
		}
		opened++
		if len(bytes.TrimSpace(content)) == 0 {
			content = []byte{}
		} else if block, _ := pem.Decode(content); block == nil {
			fail(name, "does not hold a key or certificate in PEM form")
			continue
		}
		out[name] = content
	}
	if closed > 0 && opened == 0 {
		return nil, fault.New(fault.Denied, "the certificate key does not open it: it was made for another upload").
			At(secretAddress).WithHint("%s", hintUpload)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

// secretAddress is what errors about the Secret concern.
const secretAddress = "secret:kube-system/kubeadm-certs"
