package fit

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// key collects what tells one class from another. Every part is written with
// its length, so that two different classes never have the same key.
type key struct{ bytes []byte }

func (k *key) number(n int64) { k.bytes = binary.AppendVarint(k.bytes, n) }

func (k *key) text(s string) {
	k.number(int64(len(s)))
	k.bytes = append(k.bytes, s...)
}

func (k *key) flag(b bool) {
	if b {
		k.bytes = append(k.bytes, 1)
	} else {
		k.bytes = append(k.bytes, 0)
	}
}

func (k *key) pairs(m map[string]string) {
	k.number(int64(len(m)))
	switch len(m) {
	case 0:
	case 1:
		for name, value := range m {
			k.text(name)
			k.text(value)
		}
	default:
		for _, name := range slices.Sorted(maps.Keys(m)) {
			k.text(name)
			k.text(m[name])
		}
	}
}

// object writes what is too rare or too large to be written by hand.
func (k *key) object(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode the scheduling fields of a pod: %v", err)) // API types always encode
	}
	k.text(string(text))
}

func (k *key) resources(r Resources) {
	k.number(r.MilliCPU)
	k.number(r.Memory)
	k.number(r.EphemeralStorage)
	k.number(r.Pods)
	k.number(int64(len(r.Scalar)))
	for _, name := range slices.Sorted(maps.Keys(r.Scalar)) {
		k.text(string(name))
		k.number(r.Scalar[name])
	}
}

func (k *key) tolerations(list []corev1.Toleration) {
	k.number(int64(len(list)))
	for i := range list {
		t := &list[i]
		k.text(t.Key)
		k.text(string(t.Operator))
		k.text(t.Value)
		k.text(string(t.Effect))
	}
}

// lines joins names in an order of their own.
func lines(names []string) string {
	return strings.Join(slices.Sorted(slices.Values(names)), "\n")
}
