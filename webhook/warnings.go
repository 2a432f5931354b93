package webhook

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	helpers "k8s.io/component-helpers/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/tidegate-k3s/tidegate/api"
)

// statusTimeout bounds the wait for the status: a cache that never fills must
// not cost a pod its admission, which the API server abandons after seconds.
const statusTimeout = 200 * time.Millisecond

type statusReader struct{ client.Reader }

// pools returns what the leader published of the pools, or nil if nothing can
// be read: a warning left out is no harm, a pod held up for it would be.
func (r statusReader) pools(ctx context.Context) []api.PoolStatus {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var published corev1.ConfigMap
	if err := r.Get(ctx, types.NamespacedName{Namespace: api.Namespace, Name: api.StatusConfigMap}, &published); err != nil {
		return nil
	}
	status, _ := api.ParseStatus(&published)
	return status.Pools
}

// unreadable admits an object that this build cannot decode, a newer API's
// perhaps: it is not Tidegate's to refuse.
func unreadable(err error) admission.Response {
	return admission.Allowed("").WithWarnings(fmt.Sprintf("Tidegate cannot read this object and leaves it as it is: %v", err))
}

// sentences splits what a parser joined.
func sentences(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// shortfalls says which of the pod's requests no machine can hold, one
// sentence each. It says nothing while it is unknown what some pool offers.
func shortfalls(pod *corev1.Pod, onlyPool string, pools []api.PoolStatus) []string {
	if len(pools) == 0 {
		return nil
	}
	where := "any pool"
	if onlyPool != "" {
		where = "pool " + onlyPool
		known := poolNames(pools)
		pools = slices.DeleteFunc(slices.Clone(pools), func(p api.PoolStatus) bool { return p.Name != onlyPool })
		if len(pools) == 0 {
			return []string{fmt.Sprintf("annotation %s=%q: no such pool, the known ones are %s", api.PoolAnnotation, onlyPool, known)}
		}
	}
	if slices.ContainsFunc(pools, func(p api.PoolStatus) bool { return len(p.Offers) == 0 }) {
		return nil
	}

	if name, ok := api.Uncountable(&pod.Spec); ok {
		return []string{fmt.Sprintf("requests more %s than can be counted; no machine of %s offers that", name, where)}
	}
	requests := requestsOf(pod)
	var found []string
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		request, largest := requests[name], largestOffer(pools, name)
		switch {
		case request.Cmp(largest) <= 0:
		case largest.IsZero():
			found = append(found, fmt.Sprintf("requests %s %s; no machine of %s offers any", show(name, request), name, where))
		default:
			found = append(found, fmt.Sprintf("requests %s %s; the largest machine of %s offers %s", show(name, request), name, where, show(name, largest)))
		}
	}
	if len(found) == 0 && !slices.ContainsFunc(pools, func(p api.PoolStatus) bool { return holds(p.Offers, requests) }) {
		found = append(found, fmt.Sprintf("requests %s; no single machine of %s offers all of that", showAll(requests), where))
	}
	return found
}

// requestsOf is what the scheduler will count for the pod, as far as it can be
// judged. In a Job's template the API server has not filled in the
// requests that default to limits yet.
func requestsOf(pod *corev1.Pod) corev1.ResourceList {
	pod = pod.DeepCopy()
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			filled := maps.Clone(containers[i].Resources.Limits)
			if filled == nil {
				continue
			}
			maps.Copy(filled, containers[i].Resources.Requests)
			containers[i].Resources.Requests = filled
		}
	}
	requests := helpers.PodRequests(pod, helpers.PodResourcesOptions{})
	maps.DeleteFunc(requests, func(_ corev1.ResourceName, q resource.Quantity) bool { return q.IsZero() })
	// A pool described by tags alone does not say how large its disks are.
	delete(requests, corev1.ResourceEphemeralStorage)
	return requests
}

func largestOffer(pools []api.PoolStatus, name corev1.ResourceName) resource.Quantity {
	var largest resource.Quantity
	for _, p := range pools {
		if offer := p.Offers[name]; offer.Cmp(largest) > 0 {
			largest = offer
		}
	}
	return largest
}

func holds(offers, requests corev1.ResourceList) bool {
	for name, request := range requests {
		if offer := offers[name]; request.Cmp(offer) > 0 {
			return false
		}
	}
	return true
}

func poolNames(pools []api.PoolStatus) string {
	names := make([]string, len(pools))
	for i, p := range pools {
		names[i] = p.Name
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func showAll(requests corev1.ResourceList) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		parts = append(parts, show(name, requests[name])+" "+string(name))
	}
	return strings.Join(parts, ", ")
}

// show writes an amount the way people speak of it: cpu in cores, memory in
// gibibytes, the rest as it is.
func show(name corev1.ResourceName, q resource.Quantity) string {
	switch name {
	case corev1.ResourceCPU:
		return strconv.FormatFloat(float64(q.MilliValue())/1000, 'f', -1, 64)
	case corev1.ResourceMemory:
		const gi = 1 << 30
		if q.Value() >= gi {
			return fmt.Sprintf("%.4gGi", float64(q.Value())/gi)
		}
	}
	return q.String()
}
