package k3sagent

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// HeartbeatAnnotation is what KWOK's controller looks for: it keeps the nodes
// alive that carry it, with HeartbeatValue. Source: KWOK documentation,
// "Options", --manage-nodes-with-annotation-selector.
const (
	HeartbeatAnnotation = "kwok.x-k8s.io/node"
	HeartbeatValue      = "fake"
)

// What a node does not offer to pods, for the system and the kubelet: 2.5 % of
// the CPU and 5 % of the memory, so that 16 vCPU offer 15.6.
const (
	reservedCPUPerMille    = 25
	reservedMemoryPerMille = 50
)

// maxPods is kubelet's default.
const maxPods = 110

// NodeName is the node that a machine becomes: k3s uses the host name, and
// node names are lower case.
func NodeName(vm emulator.VM) string { return strings.ToLower(vm.ComputerName) }

// SystemUUID is what kubelet on the machine reads from its firmware.
func SystemUUID(vm emulator.VM) string {
	if vm.Node.Generation1 {
		return swapped(vm.VMID)
	}
	return strings.ToLower(vm.VMID)
}

// BootID is what kubelet reads from the running kernel.
func BootID(vm emulator.VM) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s boot %d", vm.VMID, vm.Boots)).String()
}

// swapped returns a UUID with the bytes of its first three fields reversed, as
// the firmware of generation 1 machines shows it.
func swapped(uuid string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil || len(b) != 16 {
		return uuid
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x",
		[]byte{b[3], b[2], b[1], b[0]}, []byte{b[5], b[4]}, []byte{b[7], b[6]}, b[8:10], b[10:])
}

// NewNode returns the Node as a k3s agent registers it.
func NewNode(vm emulator.VM) *corev1.Node {
	name := NodeName(vm)
	ip := address(vm)
	labels := map[string]string{
		"beta.kubernetes.io/arch":          "amd64",
		"beta.kubernetes.io/instance-type": "k3s",
		"beta.kubernetes.io/os":            "linux",
		"egress.k3s.io/cluster":            "true",
		"kubernetes.io/arch":               "amd64",
		"kubernetes.io/hostname":           name,
		"kubernetes.io/os":                 "linux",
		"node.kubernetes.io/instance-type": "k3s",
	}
	for k, v := range vm.Node.Labels {
		labels[k] = v
	}
	capacity, allocatable := resources(vm)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			Labels: labels,
			Annotations: map[string]string{
				HeartbeatAnnotation:                    HeartbeatValue,
				"alpha.kubernetes.io/provided-node-ip": ip,
				"k3s.io/hostname":                      name,
				"k3s.io/internal-ip":                   ip,
				"k3s.io/node-args":                     `["agent"]`,
				"k3s.io/node-env":                      `{}`,
				"node.alpha.kubernetes.io/ttl":         "0",
				"volumes.kubernetes.io/controller-managed-attach-detach": "true",
			},
		},
		Spec: corev1.NodeSpec{ProviderID: "k3s://" + name, Taints: vm.Node.Taints},
		Status: corev1.NodeStatus{
			Capacity:    capacity,
			Allocatable: allocatable,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: ip},
				{Type: corev1.NodeHostName, Address: name},
			},
			NodeInfo: corev1.NodeSystemInfo{
				Architecture:            "amd64",
				ContainerRuntimeVersion: "containerd://2.2.1-k3s1",
				KubeletVersion:          "v1.37.2+k3s1",
				KernelVersion:           "6.8.0-1020-azure",
				OSImage:                 "Ubuntu 24.04.2 LTS",
				OperatingSystem:         "linux",
				MachineID:               vm.VMID,
				BootID:                  BootID(vm),
				SystemUUID:              SystemUUID(vm),
			},
		},
	}
}

func resources(vm emulator.VM) (capacity, allocatable corev1.ResourceList) {
	milliCPU := int64(vm.Shape.VCPUs) * 1000
	memory := int64(vm.Shape.MemoryGiB) << 30
	pods := *resource.NewQuantity(maxPods, resource.DecimalSI)
	capacity = corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(milliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI),
		corev1.ResourcePods:   pods,
	}
	allocatable = corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(milliCPU-milliCPU*reservedCPUPerMille/1000, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(memory-memory*reservedMemoryPerMille/1000, resource.BinarySI),
		corev1.ResourcePods:   pods,
	}
	for name, q := range vm.Node.Resources {
		capacity[name], allocatable[name] = q, q
	}
	return capacity, allocatable
}

// address returns a made-up address within the virtual network. It depends on
// the machine only.
func address(vm emulator.VM) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(vm.VMID)) // a hash never fails to write
	n := h.Sum32()
	return fmt.Sprintf("10.%d.%d.%d", 1+n>>24%200, n>>8&0xff, 1+n&0x7f)
}
