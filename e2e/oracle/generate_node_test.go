package oracle

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// These rules look at one node and nothing else.
func init() {
	rules["resources"] = rule{node: giveResources, pod: wantResources}
	rules["selector"] = rule{pod: func(g *generator, p *corev1.Pod) {
		if g.chance(60) {
			p.Spec.NodeSelector = map[string]string{pick(g, []string{"disk", corev1.LabelTopologyZone}): pick(g, []string{"ssd", "hdd", "1", "2"})}
		}
	}}
	rules["affinity"] = rule{node: numberNode, pod: wantAffinity}
	rules["taints"] = rule{node: taintNode, pod: tolerate}
	rules["cordon"] = rule{
		node: func(g *generator, n *corev1.Node) { n.Spec.Unschedulable = g.chance(50) },
		pod: func(g *generator, p *corev1.Pod) {
			if g.chance(40) {
				p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists})
			}
		},
	}
	rules["name"] = rule{pod: func(g *generator, p *corev1.Pod) {
		if n := pick(g, g.Nodes); g.chance(40) && !isUnborn(n) {
			p.Spec.NodeName = n.Name
		}
	}}
	rules["ports"] = rule{pod: takePorts}
	rules["devices"] = rule{pod: func(g *generator, p *corev1.Pod) {
		if g.chance(30) {
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: new("nobody-made-it")}}
		}
	}}
	rules["features"] = rule{
		node: func(g *generator, n *corev1.Node) {
			if g.chance(50) {
				n.Status.DeclaredFeatures = []string{"RestartAllContainersOnContainerExits", "SomethingUnknown", "UserNamespacesHostNetworkSupport"}[g.IntN(3):]
			}
		},
		pod: func(g *generator, p *corev1.Pod) {
			users := g.chance(50)
			p.Spec.HostNetwork, p.Spec.HostUsers = g.chance(60), &users
			if g.chance(30) {
				p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers}}
			}
		},
	}
}

func amounts(g *generator, of []string) resource.Quantity { return resource.MustParse(pick(g, of)) }

var exotic = []corev1.ResourceName{"nvidia.com/gpu", "hugepages-2Mi", "attachable-volumes-azure-disk", "example.com/license", corev1.ResourceEphemeralStorage}

func giveResources(g *generator, n *corev1.Node) {
	n.Status.Allocatable[corev1.ResourceCPU] = amounts(g, []string{"1", "2", "3500m", "0"})
	n.Status.Allocatable[corev1.ResourceMemory] = amounts(g, []string{"1Gi", "2Gi", "5G"})
	n.Status.Allocatable[corev1.ResourcePods] = amounts(g, []string{"2", "4", "110"})
	for _, name := range some(g, 5, exotic) {
		n.Status.Allocatable[name] = amounts(g, []string{"1", "4Mi", "2", "1Gi"})
	}
}

func (g *generator) requests() corev1.ResourceList {
	list := corev1.ResourceList{}
	if g.chance(60) {
		list[corev1.ResourceCPU] = amounts(g, []string{"100m", "500m", "1", "2", "0"})
	}
	if g.chance(60) {
		list[corev1.ResourceMemory] = amounts(g, []string{"100Mi", "1Gi", "2G", "0"})
	}
	if g.chance(25) {
		list[pick(g, exotic)] = amounts(g, []string{"1", "2Mi", "2", "0"})
	}
	return list
}

func wantResources(g *generator, p *corev1.Pod) {
	for i := range p.Spec.Containers {
		p.Spec.Containers[i].Resources.Requests = g.requests()
	}
	if g.chance(60) {
		g.wantMore(p)
	}
	if g.chance(50) && strings.HasPrefix(p.Name, "stands") {
		g.resize(p)
	}
}

// wantMore gives the pod requests beside those of its one container.
func (g *generator) wantMore(p *corev1.Pod) {
	always := corev1.ContainerRestartPolicyAlways
	if g.chance(30) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "second", Resources: corev1.ResourceRequirements{Requests: g.requests()}})
	}
	for i := range g.IntN(3) {
		c := corev1.Container{Name: "init-" + strconv.Itoa(i), Resources: corev1.ResourceRequirements{Requests: g.requests()}}
		if g.chance(40) {
			c.RestartPolicy = &always
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
	if g.chance(20) {
		p.Spec.Overhead = g.requests()
	}
	if g.chance(20) {
		list := g.requests()
		for _, name := range exotic {
			if name != "hugepages-2Mi" {
				delete(list, name)
			}
		}
		p.Spec.Resources = &corev1.ResourceRequirements{Requests: list}
	}
}

// resize says what a pod really has while its requests change.
func (g *generator) resize(p *corev1.Pod) {
	for _, c := range p.Spec.Containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, AllocatedResources: g.requests(), Resources: &corev1.ResourceRequirements{Requests: g.requests()},
		})
	}
	if p.Spec.Resources != nil {
		p.Status.AllocatedResources = p.Spec.Resources.Requests
		p.Status.Resources = &corev1.ResourceRequirements{Requests: g.requests()}
	}
	if g.chance(30) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonInfeasible})
	}
}

func numberNode(g *generator, n *corev1.Node) {
	if g.chance(70) {
		n.Labels["cores"] = pick(g, []string{"2", "4", "8", "many"})
	}
}

var nodeOperators = []corev1.NodeSelectorOperator{
	corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpExists,
	corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt,
}

func (g *generator) nodeTerm() corev1.NodeSelectorTerm {
	var term corev1.NodeSelectorTerm
	for range g.IntN(3) {
		r := corev1.NodeSelectorRequirement{Key: pick(g, []string{"disk", corev1.LabelTopologyZone, "cores", corev1.LabelHostname}), Operator: pick(g, nodeOperators)}
		switch r.Operator {
		case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
			r.Values = append(some(g, 2, []string{"ssd", "1", "2", "node-1", "many"}), "hdd")
		case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
			r.Values = []string{pick(g, []string{"2", "3", "7"})}
		}
		term.MatchExpressions = append(term.MatchExpressions, r)
	}
	if g.chance(25) {
		term.MatchFields = append(term.MatchFields, corev1.NodeSelectorRequirement{
			Key: metav1.ObjectNameField, Operator: pick(g, nodeOperators[:2]), Values: []string{pick(g, []string{"node-0", "node-1", "node-2"})},
		})
	}
	return term
}

func wantAffinity(g *generator, p *corev1.Pod) {
	if g.chance(30) {
		return
	}
	required := &corev1.NodeSelector{}
	for range 1 + g.IntN(3) {
		required.NodeSelectorTerms = append(required.NodeSelectorTerms, g.nodeTerm())
	}
	affinityOf(p).NodeAffinity = &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: required}
}

func affinityOf(p *corev1.Pod) *corev1.Affinity {
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{}
	}
	return p.Spec.Affinity
}

func taintNode(g *generator, n *corev1.Node) {
	for range g.IntN(3) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{
			Key:    pick(g, []string{"team", "level"}),
			Value:  pick(g, []string{"", "a", "1", "5"}),
			Effect: pick(g, []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, corev1.TaintEffectPreferNoSchedule}),
		})
	}
}

func tolerate(g *generator, p *corev1.Pod) {
	for range g.IntN(3) {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{
			Key:      pick(g, []string{"", "team", "level"}),
			Operator: pick(g, []corev1.TolerationOperator{"", corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt}),
			Value:    pick(g, []string{"", "a", "3"}),
			Effect:   pick(g, []corev1.TaintEffect{"", corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, corev1.TaintEffectPreferNoSchedule}),
		})
	}
}

func takePorts(g *generator, p *corev1.Pod) {
	always := corev1.ContainerRestartPolicyAlways
	ports := func() []corev1.ContainerPort {
		var list []corev1.ContainerPort
		for range g.IntN(3) {
			list = append(list, corev1.ContainerPort{
				HostPort: int32(pick(g, []int{0, 80, 443})),
				HostIP:   pick(g, []string{"", "0.0.0.0", "10.0.0.1", "10.0.0.2"}),
				Protocol: pick(g, []corev1.Protocol{"", corev1.ProtocolTCP, corev1.ProtocolUDP}),
			})
		}
		return list
	}
	p.Spec.Containers[0].Ports = ports()
	init := corev1.Container{Name: "with-ports", Ports: ports()}
	if g.chance(50) {
		init.RestartPolicy = &always
	}
	p.Spec.InitContainers = append(p.Spec.InitContainers, init)
}
