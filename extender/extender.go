// Package extender answers kube-scheduler's questions about nodes: filter
// leaves retiring nodes out for new pods, prioritize prefers the nodes that
// will have to stay longest anyway, so that the others run dry. It keeps no
// state but a view of the caller's caches, and never stops scheduling: on any
// doubt every node passes.
package extender

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/internal/httpguard"
)

// Where the two verbs are served; the scheduler's configuration names them.
const (
	FilterPath     = "/extender/filter"
	PrioritizePath = "/extender/prioritize"
)

// RefusalText is the reason given for every node that filter leaves out. It is
// one constant for marks, fences and interruptions alike: a text that changes between two
// attempts makes the scheduler write the pod's status, and that write wakes
// the pod for the next attempt at once.
const RefusalText = "the node is retiring"

// NodeStore finds nodes by name. An informer's indexer is one.
type NodeStore interface {
	GetByKey(name string) (node any, exists bool, err error)
}

// Extender serves filter and prioritize. It reads the store's own objects
// without copying them: it is asked about hundreds of nodes for every pod.
type Extender struct {
	Nodes NodeStore
	// Tenants must be an event handler of the informer of all pods.
	Tenants Tenants
	// Now is the clock that expected ends are compared with.
	Now func() time.Time
	Log logr.Logger
}

// Handlers returns the extender's HTTP handlers by path.
func (e *Extender) Handlers() map[string]http.Handler {
	return map[string]http.Handler{
		FilterPath:     httpguard.JSON(e.serveFilter),
		PrioritizePath: httpguard.JSON(e.servePrioritize),
	}
}

func (e *Extender) serveFilter(w http.ResponseWriter, _ *http.Request, body []byte) error {
	args, err := decode(body)
	if err != nil {
		return err
	}
	if args.NodeNames == nil {
		// The scheduler logs this field, but not the body of a 4xx.
		return reply(w, extenderv1.ExtenderFilterResult{Error: errNodesOnly.Error()})
	}
	return reply(w, e.filter(args.Pod, *args.NodeNames))
}

func (e *Extender) servePrioritize(w http.ResponseWriter, _ *http.Request, body []byte) error {
	args, err := decode(body)
	if err != nil {
		return err
	}
	if args.NodeNames == nil {
		return errNodesOnly
	}
	return reply(w, e.prioritize(args.Pod, *args.NodeNames))
}

var errNodesOnly = errors.New("the request has no NodeNames: set nodeCacheCapable: true for this extender in the scheduler's configuration")

func decode(body []byte) (extenderv1.ExtenderArgs, error) {
	var args extenderv1.ExtenderArgs
	if err := json.Unmarshal(body, &args); err != nil {
		return args, fmt.Errorf("the body is not an extender request: %w", err)
	}
	if args.Pod == nil {
		return args, errors.New("the request has no Pod: send the extender request of k8s.io/kube-scheduler/extender/v1")
	}
	return args, nil
}

func reply(w http.ResponseWriter, result any) error {
	w.Header().Set("Content-Type", "application/json")
	// The types always encode, and a scheduler that hung up needs no answer.
	_ = json.NewEncoder(w).Encode(result)
	return nil
}

// filter splits the nodes into those that may take the pod and those that are
// retiring. The latter are unresolvable: preempting a pod there would kill
// work for nothing. A node that the cache does not know yet passes.
func (e *Extender) filter(pod *corev1.Pod, names []string) extenderv1.ExtenderFilterResult {
	passed := make([]string, 0, len(names))
	rejected := extenderv1.FailedNodesMap{}
	now := e.Now()
	for _, name := range names {
		node, err := e.node(name)
		if err != nil {
			e.Log.Error(err, "filter passes every node", "pod", pod.Namespace+"/"+pod.Name)
			return extenderv1.ExtenderFilterResult{NodeNames: &names}
		}
		if node != nil && refuses(node, pod, now) {
			rejected[name] = RefusalText
		} else {
			passed = append(passed, name)
		}
	}
	return extenderv1.ExtenderFilterResult{NodeNames: &passed, FailedAndUnresolvableNodes: rejected}
}

// refuses reports whether the node takes no such pod. A DaemonSet's pod goes
// with its node and may still come to one that is marked, or whose machine is
// about to be interrupted; to a fenced node the API server binds nothing at
// all, so that trying would only cost a refusal.
func refuses(node *corev1.Node, pod *corev1.Pod, now time.Time) bool {
	return api.FenceToken(node) != "" || (api.Marked(node) || api.Interrupted(node, now)) && !api.OwnedByDaemonSet(pod)
}

// prioritize scores the nodes. Without knowledge it has no opinion: an empty
// list leaves the choice to the scheduler's own plugins.
func (e *Extender) prioritize(pod *corev1.Pod, names []string) extenderv1.HostPriorityList {
	now := e.Now()
	outlooks := make([]Outlook, len(names))
	e.Tenants.mu.RLock()
	defer e.Tenants.mu.RUnlock()
	for i, name := range names {
		node, err := e.node(name)
		if err != nil || node == nil {
			e.Log.V(1).Info("prioritize has no opinion", "unknownNode", name, "err", err)
			return extenderv1.HostPriorityList{}
		}
		outlooks[i] = outlookOf(node, e.Tenants.byNode[name], now)
	}
	scores := Scores(outlooks, api.EndsByItself(pod))
	list := make(extenderv1.HostPriorityList, len(names))
	for i, name := range names {
		list[i] = extenderv1.HostPriority{Host: name, Score: scores[i]}
	}
	return list
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
