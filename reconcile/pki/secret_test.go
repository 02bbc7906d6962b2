package pki

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
)

func TestDecodeCertificateKey(t *testing.T) {
	good := strings.Repeat("0f", 32)
	if key, err := DecodeCertificateKey(good); err != nil || len(key) != 32 || key[0] != 0x0f {
		t.Errorf("%x, %v", key, err)
	}
	for name, digits := range map[string]string{
		"empty": "", "short": good[2:], "long": good + "00", "odd": good[1:], "no hex digits": strings.Repeat("zz", 32),
	} {
		_, err := DecodeCertificateKey(digits)
		if fault.ClassOf(err) != fault.InvalidConfig || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
		if digits != "" && strings.Contains(err.Error(), digits) {
			t.Errorf("%s: the key shows: %v", name, err)
		}
	}
}

func TestOpenBundle(t *testing.T) {
	key, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	plain := set(t)
	sealed := func(change func(map[string][]byte)) map[string][]byte {
		out := map[string][]byte{}
		for name, content := range plain {
			out[name] = seal(t, content, key)
		}
		change(out)
		return out
	}
	tests := map[string]struct {
		change func(map[string][]byte)
		key    []byte
		want   []string // in the error; none: it opens
	}{
		"as uploaded":        {change: func(map[string][]byte) {}},
		"external etcd":      {change: func(d map[string][]byte) { d["external-etcd.key"] = seal(t, plain["sa.key"], key) }},
		"an empty entry":     {change: func(d map[string][]byte) { d["ca.key"] = nil }},
		"an absent entry":    {change: func(d map[string][]byte) { delete(d, "ca.key") }},
		"nothing":            {change: func(d map[string][]byte) { clear(d) }},
		"another key":        {change: func(map[string][]byte) {}, key: other, want: []string{"the certificate key does not open it"}},
		"a key of 16 bytes":  {change: func(map[string][]byte) {}, key: key[:16], want: []string{"is not 32 bytes long"}},
		"a cut off entry":    {change: func(d map[string][]byte) { d["sa.key"] = d["sa.key"][:20] }, want: []string{"entry sa.key is cut off"}},
		"a shortened entry":  {change: func(d map[string][]byte) { d["sa.key"] = d["sa.key"][:60] }, want: []string{"entry sa.key does not open"}},
		"a changed entry":    {change: func(d map[string][]byte) { d["ca.key"][30] ^= 1 }, want: []string{"entry ca.key does not open"}},
		"of another upload":  {change: func(d map[string][]byte) { d["ca.key"] = seal(t, plain["ca.key"], other) }, want: []string{"entry ca.key does not open"}},
		"no PEM":             {change: func(d map[string][]byte) { d["sa.pub"] = seal(t, []byte("hello"), key) }, want: []string{"entry sa.pub does not hold"}},
		"two things at once": {change: func(d map[string][]byte) { d["ca.crt"], d["sa.pub"] = []byte("x"), []byte("y") }, want: []string{"entry ca.crt", "entry sa.pub"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data := sealed(tt.change)
			if tt.key == nil {
				tt.key = key
			}
			got, err := OpenBundle(data, tt.key)
			if len(tt.want) == 0 {
				must(t, err)
				for n := range data {
					want, ok := plain[n]
					if len(data[n]) == 0 {
						want, ok = []byte{}, true
					}
					if diff := cmp.Diff(want, got[n]); ok && diff != "" {
						t.Errorf("%s: %s", n, diff)
					}
				}
				if len(got) != len(data) {
					t.Errorf("%d entries of %d", len(got), len(data))
				}
				return
			}
			for _, w := range tt.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Fatalf("%q is not in %v", w, err)
				}
			}
			if c := fault.ClassOf(err); name != "a key of 16 bytes" && (c != fault.Denied || !strings.Contains(fault.HintOf(err), "upload-certs")) {
				t.Errorf("%s, hint %q", c, fault.HintOf(err))
			}
			noSecret(t, err.Error(), plain["ca.key"], plain["sa.key"])
		})
	}
}
