package cli

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// amounts shows resources the way people speak of them, CPU and memory first.
// What every machine has plenty of is left out unless all is asked for.
func amounts(list corev1.ResourceList, all bool) string {
	names := slices.SortedFunc(maps.Keys(list), func(a, b corev1.ResourceName) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(string(a), string(b)))
	})
	var parts []string
	for _, name := range names {
		switch {
		case name == corev1.ResourceMemory && !all:
			parts = append(parts, amount(name, list[name])) // its unit says what it is
		case all || rank(name) < rankPlenty:
			parts = append(parts, amount(name, list[name])+" "+string(name))
		}
	}
	return strings.Join(parts, ", ")
}

// rankPlenty is the rank of what every machine has plenty of.
const rankPlenty = 3

func rank(name corev1.ResourceName) int {
	switch name {
	case corev1.ResourceCPU:
		return 0
	case corev1.ResourceMemory:
		return 1
	case corev1.ResourcePods, corev1.ResourceEphemeralStorage:
		return rankPlenty
	}
	return 2
}

// amount shows CPU in cores, bytes in gibibytes, the rest as it is.
func amount(name corev1.ResourceName, q resource.Quantity) string {
	const gi = 1 << 30
	switch bytes := name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage; {
	case name == corev1.ResourceCPU:
		return strconv.FormatFloat(float64(q.MilliValue())/1000, 'f', -1, 64)
	case bytes && q.Value() >= gi:
		return strconv.FormatFloat(float64(q.Value()*10/gi)/10, 'f', -1, 64) + "Gi"
	}
	return q.String()
}
