package manager

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// hostsOf returns the host names of the nodes on whose disks the volume's data are,
// none if they are elsewhere or there are none: nothing was written yet to a volume that
// no claim has had.
func hostsOf(pv *corev1.PersistentVolume) []string {
	if pv.Status.Phase == corev1.VolumePending || pv.Status.Phase == corev1.VolumeAvailable {
		return nil
	}
	return fit.HostsOf(pv)
}

// hostOf is the host name by which local volumes know the node.
func hostOf(n *corev1.Node) string {
	if host := n.Labels[corev1.LabelHostname]; host != "" {
		return host
	}
	return n.Name
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
func (s *store) localVolume(n *corev1.Node) string {
	if s.local == nil {
		s.local = map[string]*corev1.PersistentVolume{}
		for _, pv := range s.objects.volumes {
			for _, host := range hostsOf(pv) {
				if first := s.local[host]; first == nil || pv.Name < first.Name {
					s.local[host] = pv
				}
			}
		}
	}
	if pv := s.local[hostOf(n)]; pv != nil {
		return describeVolume(pv)
	}
	return ""
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
	for i := range volumes {
		if pv := &volumes[i]; slices.Contains(hostsOf(pv), hostOf(n)) {
			return describeVolume(pv)
		}
	}
	return ""
}
