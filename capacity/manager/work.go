package manager

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// WorkOf says what the pod is to its node.
func WorkOf(p *corev1.Pod) capacity.Work {
	request, _ := api.ParsePodRequest(p.Annotations) // what is wrong was said at admission
	return workOf(p, request)
}
