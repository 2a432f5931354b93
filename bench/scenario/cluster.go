package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/bench/tidegate"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// On each node of a Cluster run so many pods, the first of which are DaemonSets'.
const perNode, daemonsPerNode = 10, 2

// Cluster is one whose nodes are full but for less than a CPU: the pods that
// wait need machines that are not there yet.
type Cluster struct {
	running, waiting []*corev1.Pod
	nodes            []*capacity.Node
	pools            []capacity.PoolState
}

// NewCluster has so many nodes of the 16-CPU machines of the Market, with ten
// pods on each, two of them DaemonSets', and these pods that wait. Its pools may
// buy so many machines each, and were asked for them already if coming is true.
func NewCluster(nodes int, waiting []*corev1.Pod, headroom int, coming bool) *Cluster {
	c := &Cluster{waiting: waiting}
	for _, p := range tidegate.Pools(Market(), 0) {
		if p.VMSize == "d16" {
			c.pools = append(c.pools, p)
		}
	}
	for i := range nodes {
		pool := &c.pools[i%len(c.pools)]
		n := node(fmt.Sprintf("node-%05d", i), pool)
		pool.Instances = append(pool.Instances, n.Instance)
		c.nodes = append(c.nodes, n)
		for j := range perNode {
			p := daemon(fmt.Sprintf("%s-%d", n.Name, j), j)
			if j >= daemonsPerNode {
				p = pod(p.Name, 1900, int64(1+j%4)<<30)
			}
			p.Spec.NodeName = n.Name
			c.running = append(c.running, p)
		}
	}
	for i := range c.pools {
		pool := &c.pools[i]
		pool.Capacity = len(pool.Instances)
		pool.Settings.Max = pool.Capacity + headroom
		if coming {
			pool.Capacity = pool.Settings.Max
		}
	}
	return c
}

// daemon is a pod of the DaemonSet with that number.
func daemon(name string, number int) *corev1.Pod {
	p := pod(name, 100, int64(64+number)<<20)
	p.Labels = map[string]string{"daemon": fmt.Sprint(number)}
	return p
}

// node is a ready machine of the pool.
func node(name string, pool *capacity.PoolState) *capacity.Node {
	labels := map[string]string{corev1.LabelHostname: name}
	for key, value := range pool.Shape.Labels {
		labels[key] = value
	}
	created := tidegate.Now.Add(-time.Hour)
	return &capacity.Node{
		Name: name, UID: types.UID(name), Pool: pool.Name, Ready: true, Created: created, Recorded: "vm-" + name,
		Shape: fit.Shape{Labels: labels, Allocatable: pool.Shape.Allocatable},
		Instance: capacity.Instance{
			ID: name, VMID: "vm-" + name, ComputerName: strings.ToUpper(name), State: capacity.InstanceRunning, Created: created,
		},
	}
}

// Snapshot compiles every pod's class and makes every node's load: what is to
// be done when nothing is known yet.
func (c *Cluster) Snapshot() capacity.Snapshot {
	s := capacity.Snapshot{Now: tidegate.Now, Pools: c.pools}
	var bound map[string][]*capacity.Pod
	tidegate.Settle(fit.NewCompiler(), func(compiler *fit.Compiler) {
		bound, s.Waiting, s.Daemons = c.bound(compiler), tidegate.Waiting(compiler, c.waiting), nil
		for i := range daemonsPerNode {
			s.Daemons = append(s.Daemons, compiler.Class(daemon("", i), ""))
		}
	})
	for _, n := range c.nodes {
		loaded := *n
		loaded.Load = capacity.NewLoad(bound[n.Name])
		s.Nodes = append(s.Nodes, &loaded)
	}
	return s
}

// bound converts the pods that run, by node.
func (c *Cluster) bound(compiler *fit.Compiler) map[string][]*capacity.Pod {
	bound := make(map[string][]*capacity.Pod, len(c.nodes))
	for i, p := range c.running {
		on := &capacity.Pod{
			Key: types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, UID: p.UID, Class: compiler.Bound(p), Node: p.Spec.NodeName,
			Created: tidegate.Now.Add(-time.Hour), Bound: tidegate.Now.Add(-time.Hour),
		}
		if i%perNode < daemonsPerNode {
			on.Work = capacity.Daemon
		} else {
			on.Ends = tidegate.Now.Add(time.Duration(i) * time.Second)
		}
		bound[on.Node] = append(bound[on.Node], on)
	}
	return bound
}

// Finish is the snapshot after a pod of the node with that number has finished; it shares all that has not changed.
func Finish(s capacity.Snapshot, number int) capacity.Snapshot {
	changed := *s.Nodes[number]
	changed.Load = capacity.NewLoad(changed.Load.Pods[:perNode-1])
	s.Nodes = slices.Clone(s.Nodes)
	s.Nodes[number] = &changed
	return s
}

// Depart is the snapshot after the waiting pod with that number has gone.
func Depart(s capacity.Snapshot, number int) capacity.Snapshot {
	s.Waiting = slices.Delete(slices.Clone(s.Waiting), number, number+1)
	return s
}
