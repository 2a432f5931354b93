package extender

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// NodeNameIndex is the index of the pod store by the node that a pod is bound
// to, named as a field index on spec.nodeName.
const NodeNameIndex = "spec.nodeName"

// PodIndexers returns the index that PodStore needs; add it to the informer of
// pods.
func PodIndexers() cache.Indexers {
	return cache.Indexers{NodeNameIndex: func(obj any) ([]string, error) {
		pod, ok := obj.(*corev1.Pod)
		if !ok || pod.Spec.NodeName == "" {
			return nil, nil
		}
		return []string{pod.Spec.NodeName}, nil
	}}
}

// node returns the named node, or nil if the store does not know it.
func (e *Extender) node(name string) (*corev1.Node, error) {
	obj, exists, err := e.Nodes.GetByKey(name)
	if err != nil {
		return nil, fmt.Errorf("read node %s from the cache: %w", name, err)
	}
	if !exists {
		return nil, nil
	}
	node, ok := obj.(*corev1.Node)
	if !ok {
		return nil, fmt.Errorf("the node cache holds a %T under %s", obj, name)
	}
	return node, nil
}

// podsOn returns the pods that are bound to the node.
func (e *Extender) podsOn(node string) ([]*corev1.Pod, error) {
	objs, err := e.Pods.ByIndex(NodeNameIndex, node)
	if err != nil {
		return nil, fmt.Errorf("read the pods on node %s from the cache: %w", node, err)
	}
	pods := make([]*corev1.Pod, len(objs))
	for i, obj := range objs {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("the pod cache holds a %T on node %s", obj, node)
		}
		pods[i] = pod
	}
	return pods, nil
}
