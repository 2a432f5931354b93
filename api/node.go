package api

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Retirement is the value of RetiringAnnotation: how far a node's retirement
// has come, for people to read and for a restarted manager to go on from.
type Retirement struct {
	// Reason says in a few words why the node is to go.
	Reason string `json:"reason"`
	// Since is when the node was marked.
	Since metav1.Time `json:"since"`
	// EmptySince is when the node was first seen empty after the mark; nil
	// while there is work on it.
	EmptySince *metav1.Time `json:"emptySince,omitempty"`
	// FencedAt is when the fence was set; nil before.
	FencedAt *metav1.Time `json:"fencedAt,omitempty"`
}

// Marked reports whether the node carries the mark.
func Marked(node *corev1.Node) bool {
	_, ok := node.Annotations[RetiringAnnotation]
	return ok
}

// RetirementOf returns the node's retirement, or nil if it is not marked. A
// value that cannot be read still means marked; it carries no times, so that
// every later step starts afresh.
func RetirementOf(node *corev1.Node) *Retirement {
	v, ok := node.Annotations[RetiringAnnotation]
	if !ok {
		return nil
	}
	var r Retirement
	if err := json.Unmarshal([]byte(v), &r); err != nil {
		return &Retirement{Reason: "mark with an unreadable value"}
	}
	return &r
}

// Encode returns the annotation value.
func (r Retirement) Encode() string {
	b, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("encode retirement %+v: %v", r, err)) // strings and times always encode
	}
	return string(b)
}

// FenceToken returns the token of the node's fence, or "" if it has none.
func FenceToken(node *corev1.Node) string { return node.Labels[RetiredLabel] }

// FenceTaint is the taint that accompanies the fence.
func FenceTaint() corev1.Taint {
	return corev1.Taint{Key: RetiredTaint, Effect: corev1.TaintEffectNoSchedule}
}

// FenceRefusal is the sentence with which the fence policy refuses a binding.
// A refusal is proof of the fence only if it contains this very sentence, with
// the node's own UID and the fence's own token.
func FenceRefusal(nodeUID, token string) string {
	return fmt.Sprintf("%s: node uid=%s is retired, token=%s", FencePolicy, nodeUID, token)
}

// KeepReason returns why the node must never be retired, in words, or "".
func KeepReason(node *corev1.Node) string {
	for _, veto := range []string{KeepAnnotation, ScaleDownDisabledAnnotation, DoNotDisruptAnnotation} {
		if node.Annotations[veto] == "true" {
			return "annotation " + veto
		}
	}
	return serverRole(node)
}

// IsServer reports whether the node is a server of the cluster, not an agent.
func IsServer(node *corev1.Node) bool { return serverRole(node) != "" }

func serverRole(node *corev1.Node) string {
	for _, role := range []string{"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master", "node-role.kubernetes.io/etcd"} {
		if _, ok := node.Labels[role]; ok {
			return "label " + role
		}
	}
	return ""
}

// Outdated reports whether the node's machine is known to lack the scale set's
// latest model.
func Outdated(node *corev1.Node) bool { return node.Annotations[OutdatedAnnotation] == "true" }

// ShortDuration rounds d the way Tidegate's messages show it, coarse enough
// that a text does not change with every second.
func ShortDuration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return "10 s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(10*time.Second).Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	}
	return fmt.Sprintf("%d h", int(d.Round(time.Hour).Hours()))
}
