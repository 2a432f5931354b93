package manager

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tie is a label by which a volume is tied to nodes: those that have that value.
type tie struct{ label, value string }

// tiesOf returns the ties of the volume's data, none if there are no data: nothing was
// written yet to a volume that no claim has had.
func tiesOf(pv *corev1.PersistentVolume) (ties []tie) {
	if pv.Status.Phase == corev1.VolumePending || pv.Status.Phase == corev1.VolumeAvailable ||
		pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return nil
	}
	for _, term := range pv.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			if e.Operator != corev1.NodeSelectorOpIn {
				continue
			}
			for _, value := range e.Values {
				ties = append(ties, tie{e.Key, value})
			}
		}
	}
	return ties
}

// diskTies returns the labels by which volumes are tied to this one node, whose disk
// they then are on.
func diskTies(n *corev1.Node) []tie {
	own := namesNode(n.Name, n.Labels)
	ties := []tie{{corev1.LabelHostname, hostOf(n.Name, n.Labels)}}
	for label, value := range n.Labels {
		if label != corev1.LabelHostname && own(label, value) {
			ties = append(ties, tie{label, value})
		}
	}
	return ties
}

// describeVolume names the volume for people, by its claim if it has one.
func describeVolume(pv *corev1.PersistentVolume) string {
	if claim := pv.Spec.ClaimRef; claim != nil {
		return fmt.Sprintf("%s of claim %s/%s", pv.Name, claim.Namespace, claim.Name)
	}
	return pv.Name
}

// localVolume returns a volume whose data are on the node's own disk, "" for none. The
// caller holds s.mu.
func (s *store) localVolume(n *storedNode) string {
	if s.local == nil {
		s.local = map[tie]*corev1.PersistentVolume{}
		for _, pv := range s.objects.volumes {
			for _, t := range tiesOf(pv) {
				if first := s.local[t]; first == nil || pv.Name < first.Name {
					s.local[t] = pv
				}
			}
		}
	}
	var first *corev1.PersistentVolume
	for _, t := range n.ties {
		if pv := s.local[t]; pv != nil && (first == nil || pv.Name < first.Name) {
			first = pv
		}
	}
	if first == nil {
		return ""
	}
	return describeVolume(first)
}

// liveVolume is the same as the API server and not a cache knows it.
func (m *Manager) liveVolume(ctx context.Context, n *corev1.Node) (string, error) {
	volumes, err := m.kubernetes.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", fmt.Errorf("live read of the volumes on node %s: %w", n.Name, err)
	}
	return VolumeOn(n, volumes.Items), nil
}

// VolumeOn names one of the volumes whose data are on the node's own disk, "" for none.
func VolumeOn(n *corev1.Node, volumes []corev1.PersistentVolume) string {
	ties := diskTies(n)
	for i := range volumes {
		pv := &volumes[i]
		if slices.ContainsFunc(tiesOf(pv), func(t tie) bool { return slices.Contains(ties, t) }) {
			return describeVolume(pv)
		}
	}
	return ""
}
