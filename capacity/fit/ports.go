package fit

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// hostPort is a port of the node that a pod takes.
type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

// anyIP is the address that stands for all of a node's.
const anyIP = "0.0.0.0"

// hostPorts are the ports that the pod takes for all the time that it runs:
// those of its containers and sidecars.
func hostPorts(spec *corev1.PodSpec) []hostPort {
	var ports []hostPort
	take := func(c *corev1.Container) {
		for i := range c.Ports {
			if p := &c.Ports[i]; p.HostPort > 0 {
				ports = append(ports, hostPort{cmp.Or(p.HostIP, anyIP), cmp.Or(p.Protocol, corev1.ProtocolTCP), p.HostPort})
			}
		}
	}
	for i := range spec.InitContainers {
		if c := &spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			take(c)
		}
	}
	for i := range spec.Containers {
		take(&spec.Containers[i])
	}
	return ports
}

// conflicts reports whether two pods on one node cannot both have their ports.
func conflicts(a, b []hostPort) bool {
	return slices.ContainsFunc(a, func(p hostPort) bool {
		return slices.ContainsFunc(b, func(q hostPort) bool {
			return p.port == q.port && p.protocol == q.protocol && (p.ip == q.ip || p.ip == anyIP || q.ip == anyIP)
		})
	})
}

func (k *key) ports(list []hostPort) {
	k.number(int64(len(list)))
	for _, p := range list {
		k.text(p.ip)
		k.text(string(p.protocol))
		k.number(int64(p.port))
	}
}
