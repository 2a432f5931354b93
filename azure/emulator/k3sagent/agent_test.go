package k3sagent_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/azure/emulator/k3sagent"
)

const vmID = "00112233-4455-6677-8899-aabbccddeeff"

// machine is one of the pool agents.
func machine() emulator.VM {
	return emulator.VM{
		Set: "agents", InstanceID: "10", ComputerName: "agents00000A", VMID: vmID,
		Shape: emulator.Shape{VCPUs: 8, MemoryGiB: 32},
		Node: emulator.NodeTemplate{
			Labels:    map[string]string{"pool": "agents"},
			Taints:    []corev1.Taint{{Key: "batch", Effect: corev1.TaintEffectNoSchedule}},
			Resources: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")},
		},
	}
}

// inCluster runs an agent against a cluster with the given nodes.
func inCluster(t *testing.T, test func(t *testing.T, a *k3sagent.Agent, client *fake.Clientset), nodes ...runtime.Object) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(nodes...)
		a := k3sagent.New(client, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); a.Run(ctx) }()
		test(t, a, client)
		cancel()
		<-done
	})
}

func getNode(t *testing.T, client *fake.Clientset) *corev1.Node {
	t.Helper()
	node, err := client.CoreV1().Nodes().Get(t.Context(), "agents00000a", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return node
}

func heartbeat(node *corev1.Node) string {
	if node == nil {
		return "no node"
	}
	return node.Annotations[k3sagent.HeartbeatAnnotation]
}

func TestJoinsAsAK3sAgentAndLeavesItsNodeBehind(t *testing.T) {
	inCluster(t, func(t *testing.T, a *k3sagent.Agent, client *fake.Clientset) {
		a.OnBoot(machine())
		synctest.Wait()
		node := getNode(t, client)
		if node == nil {
			t.Fatal("the machine did not join")
		}
		if node.Spec.ProviderID != "k3s://agents00000a" || node.Status.NodeInfo.SystemUUID != vmID || heartbeat(node) != "fake" {
			t.Errorf("provider ID %q, system UUID %q, heartbeat %q", node.Spec.ProviderID, node.Status.NodeInfo.SystemUUID, heartbeat(node))
		}
		for label, want := range map[string]string{
			"kubernetes.io/hostname": "agents00000a", "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
			"node.kubernetes.io/instance-type": "k3s", "beta.kubernetes.io/instance-type": "k3s",
			"egress.k3s.io/cluster": "true", "pool": "agents",
		} {
			if got := node.Labels[label]; got != want {
				t.Errorf("label %s is %q, want %q", label, got, want)
			}
		}
		if diff := cmp.Diff(machine().Node.Taints, node.Spec.Taints); diff != "" {
			t.Errorf("taints (-want +got):\n%s", diff)
		}
		want := corev1.ResourceList{"cpu": resource.MustParse("7800m"), "memory": resource.MustParse("32641751450"), "pods": resource.MustParse("110"), "nvidia.com/gpu": resource.MustParse("1")}
		if diff := cmp.Diff(want, node.Status.Allocatable); diff != "" {
			t.Errorf("allocatable (-want +got):\n%s", diff)
		}
		if cpu, memory := node.Status.Capacity.Cpu().String(), node.Status.Capacity.Memory().String(); cpu != "8" || memory != "32Gi" {
			t.Errorf("capacity: %s CPU, %s memory, want 8 and 32Gi", cpu, memory)
		}

		a.OnGone(machine())
		synctest.Wait()
		if node := getNode(t, client); heartbeat(node) != "" {
			t.Errorf("after the machine is gone: heartbeat %q, want a node without", heartbeat(node))
		}
		a.OnBoot(machine())
		synctest.Wait()
		if node := getNode(t, client); heartbeat(node) != "fake" {
			t.Errorf("started again: heartbeat %q, want the old node alive", heartbeat(node))
		}
	})
}

func TestGeneration1SwapsBytes(t *testing.T) {
	vm := machine()
	vm.Node.Generation1 = true
	if got, want := k3sagent.SystemUUID(vm), "33221100-5544-7766-8899-aabbccddeeff"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAReusedNameWaitsForTheOldNodeToGo(t *testing.T) {
	old := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "agents00000a", Annotations: map[string]string{k3sagent.HeartbeatAnnotation: "fake"}},
		Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{SystemUUID: "ffffffff-0000-4000-8000-000000000000"}},
	}
	inCluster(t, func(t *testing.T, a *k3sagent.Agent, client *fake.Clientset) {
		a.OnBoot(machine())
		time.Sleep(time.Hour)
		if node := getNode(t, client); node.Status.NodeInfo.SystemUUID == vmID {
			t.Fatal("the machine took a Node that belongs to another")
		}
		if err := client.CoreV1().Nodes().Delete(t.Context(), "agents00000a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if node := getNode(t, client); node == nil || node.Status.NodeInfo.SystemUUID != vmID {
			t.Errorf("10 s after the old Node went the machine has not joined: %v", node)
		}
	}, old)
}

func TestAGoneMachineLeavesOthersAlone(t *testing.T) {
	other := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "agents00000a", Annotations: map[string]string{k3sagent.HeartbeatAnnotation: "fake"}},
		Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{SystemUUID: "ffffffff-0000-4000-8000-000000000000"}},
	}
	inCluster(t, func(t *testing.T, a *k3sagent.Agent, client *fake.Clientset) {
		a.OnBoot(machine()) // blocked by the name
		a.OnGone(machine())
		time.Sleep(time.Minute)
		if node := getNode(t, client); heartbeat(node) != "fake" {
			t.Errorf("the other machine's heartbeat is %q", heartbeat(node))
		}
		if err := client.CoreV1().Nodes().Delete(t.Context(), "agents00000a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if node := getNode(t, client); node != nil {
			t.Error("a machine that is gone has joined")
		}
	}, other)
}

func TestTriesAgainWhileTheServerIsAway(t *testing.T) {
	inCluster(t, func(t *testing.T, a *k3sagent.Agent, client *fake.Clientset) {
		var away atomic.Bool
		away.Store(true)
		client.PrependReactor("*", "nodes", func(k8stesting.Action) (bool, runtime.Object, error) {
			return away.Load(), nil, errors.New("connection refused")
		})
		settle := func(up bool) {
			away.Store(false)
			time.Sleep(10 * time.Second)
			want := ""
			if up {
				want = "fake"
			}
			if node := getNode(t, client); heartbeat(node) != want {
				t.Errorf("after the server returned: heartbeat %q, want %q", heartbeat(node), want)
			}
			away.Store(true)
		}
		a.OnBoot(machine())
		time.Sleep(time.Hour)
		settle(true)
		a.OnGone(machine())
		time.Sleep(time.Hour)
		settle(false)
	})
}

func TestMachinesOfTheEmulatorBecomeNodes(t *testing.T) {
	inCluster(t, func(t *testing.T, a *k3sagent.Agent, client *fake.Clientset) {
		cloud, err := emulator.NewCloud(emulator.Config{
			ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 2}},
			Observers: []emulator.Observer{a},
		})
		if err != nil {
			t.Fatal(err)
		}
		cloud.Advance(time.Now())
		synctest.Wait()
		if _, err := cloud.Schedule(emulator.ScheduledEvent{Type: "Preempt", Set: "agents", InstanceIDs: []string{"0"}}); err != nil {
			t.Fatal(err)
		}
		cloud.Advance(time.Now())
		synctest.Wait()
		nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, n := range nodes.Items {
			got[n.Name] = heartbeat(&n)
		}
		if diff := cmp.Diff(map[string]string{"agents000000": "", "agents000001": "fake"}, got); diff != "" {
			t.Errorf("nodes and heartbeats (-want +got):\n%s", diff)
		}
	})
}

// A machine that starts again is the old agent in a new run; one with a new disk
// has lost the Node's password, and waits for the Node to go.
func TestRestartsAndReimages(t *testing.T) {
	inCluster(t, func(t *testing.T, a *k3sagent.Agent, client *fake.Clientset) {
		vm := machine()
		vm.Boots, vm.Disks = 1, 1
		a.OnBoot(vm)
		synctest.Wait()
		first := getNode(t, client)

		a.OnGone(vm)
		synctest.Wait()
		vm.Boots = 2
		a.OnBoot(vm)
		synctest.Wait()
		second := getNode(t, client)
		if second.UID != first.UID || second.Status.NodeInfo.BootID == first.Status.NodeInfo.BootID || heartbeat(second) != "fake" {
			t.Errorf("after a restart: UID %q, boot ID %q, heartbeat %q", second.UID, second.Status.NodeInfo.BootID, heartbeat(second))
		}

		a.OnGone(vm)
		synctest.Wait()
		vm.Boots, vm.Disks = 3, 2
		a.OnBoot(vm)
		time.Sleep(time.Minute)
		if got := heartbeat(getNode(t, client)); got != "" {
			t.Errorf("after a reimage the old Node has the heartbeat %q, want none", got)
		}
		if err := client.CoreV1().Nodes().Delete(t.Context(), first.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := heartbeat(getNode(t, client)); got != "fake" {
			t.Errorf("once the old Node is gone the new one has the heartbeat %q, want one", got)
		}
	})
}
