package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	helpers "k8s.io/component-helpers/resource"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// Explanation is one pod's story.
type Explanation struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Headline says in a sentence where the pod stands.
	Headline string `json:"headline"`
	// Why is Tidegate's own reason, "" if it has not spoken.
	Why string `json:"why,omitempty"`
	// Asks is what the pod requests.
	Asks string `json:"asks"`
	// Wishes are what it says to Tidegate, Mistakes what cannot be read of that.
	Wishes   []string `json:"wishes,omitempty"`
	Mistakes []string `json:"mistakes,omitempty"`
	// Pools say of each pool whether a new machine of it would hold the pod; only
	// for a pod that has no node yet.
	Pools []string `json:"pools,omitempty"`
	// Next says what the submitter can do, if anything.
	Next string `json:"next,omitempty"`
	// History are the pod's events, oldest first.
	History []Moment `json:"history,omitempty"`
}

// Moment is one thing that happened.
type Moment struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// Story is what an explanation is made of.
type Story struct {
	// Now is when it was read.
	Now    time.Time
	Pod    *corev1.Pod
	Events []corev1.Event
	// Status is what the leader has published.
	Status api.Status
}

// ReadStory reads a pod, its events and the pools.
func ReadStory(ctx context.Context, client kubernetes.Interface, namespace, name string, now func() time.Time) (Story, error) {
	var s Story
	pod, err := client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return s, fmt.Errorf("there is no pod %q in namespace %q: name another with --namespace", name, namespace)
	}
	if err != nil {
		return s, readError("pod "+namespace+"/"+name, err)
	}
	events, err := client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("involvedObject.uid", string(pod.UID)).String(),
	})
	if err != nil {
		return s, readError("the events of namespace "+namespace, err)
	}
	published, err := readPublished(ctx, client)
	if err != nil {
		return s, err
	}
	if published != nil {
		if s.Status, err = api.ParseStatus(published); err != nil {
			return s, err
		}
	}
	s.Now, s.Pod, s.Events = now(), pod, events.Items
	return s, nil
}

// Explain tells the story.
func Explain(s Story) Explanation {
	pod := s.Pod
	e := Explanation{Namespace: pod.Namespace, Name: pod.Name, Asks: asks(pod), History: history(pod, s.Events)}
	e.Headline, e.Next = headline(s.Now, pod)
	if pod.Spec.NodeName == "" && !api.Finished(pod) {
		e.Pools = judge(pod, s.Status.Pools)
	}
	if c := capacityCondition(pod); c != nil {
		e.Why = fmt.Sprintf("%s (%s)", c.Message, c.Reason)
	}
	request, err := api.ParsePodRequest(pod.Annotations)
	e.Wishes = wishes(request)
	if err != nil {
		e.Mistakes = strings.Split(err.Error(), "\n")
	}
	return e
}

// headline says where the pod stands and what the submitter can do.
func headline(now time.Time, pod *corev1.Pod) (stands, next string) {
	condition := capacityCondition(pod)
	waits := age(now, pod.CreationTimestamp.Time)
	switch {
	case pod.Status.Phase == corev1.PodSucceeded:
		return "has succeeded", ""
	case pod.Status.Phase == corev1.PodFailed:
		return "has failed", "kubectl describe pod says how"
	case pod.Spec.NodeName != "":
		return "is on node " + pod.Spec.NodeName, ""
	case api.HasCapacityGate(pod) && !api.OnlyCapacityGate(pod):
		return "waits behind gates of others: " + strings.Join(othersGates(pod), ", "),
			"whoever set them has to remove them; until then no machine is bought for it"
	case api.HasCapacityGate(pod) && condition == nil:
		return "waits at the gate for " + waits, "Tidegate has not looked at it yet: tidegate status says whether it runs"
	case api.HasCapacityGate(pod):
		return "waits at the gate for " + waits, ""
	case len(pod.Spec.SchedulingGates) > 0:
		return "waits behind gates of others: " + strings.Join(othersGates(pod), ", "), "Tidegate's gate is not among them"
	case condition != nil && condition.Status == corev1.ConditionTrue:
		return "was let through the gate " + ago(now, condition.LastTransitionTime.Time) + " and is not bound yet",
			"kubectl describe pod shows what the scheduler says"
	}
	return "never was at the gate",
		fmt.Sprintf("to have machines bought for such pods, set the annotation %s: \"true\" on the pod template", api.GateKey)
}

func othersGates(pod *corev1.Pod) []string {
	var names []string
	for _, g := range pod.Spec.SchedulingGates {
		if g.Name != api.CapacityGate {
			names = append(names, g.Name)
		}
	}
	return names
}

// asks is what the scheduler counts for the pod.
func asks(pod *corev1.Pod) string {
	if name, ok := api.Uncountable(&pod.Spec); ok {
		return fmt.Sprintf("more %s than can be counted", name)
	}
	requests := helpers.PodRequests(pod, helpers.PodResourcesOptions{})
	if len(requests) == 0 {
		return "nothing"
	}
	return amounts(requests, true)
}

// judge says of each pool whether a new machine of it would hold the pod.
func judge(pod *corev1.Pod, pools []api.PoolStatus) []string {
	request, _ := api.ParsePodRequest(pod.Annotations)
	class := fit.NewCompiler().Class(pod, request.Pool)
	var verdicts []string
	for _, p := range pools {
		verdicts = append(verdicts, p.Name+": "+verdict(class, request.Pool, p))
	}
	return verdicts
}

func verdict(class *fit.Class, onlyPool string, p api.PoolStatus) string {
	if onlyPool != "" && !strings.EqualFold(onlyPool, p.Name) {
		return "the pod asks for another pool"
	}
	if p.Node == nil {
		return "it is not known what its machines offer"
	}
	shape := fit.Shape{Labels: p.Node.Labels, Taints: p.Node.Taints}
	if why := shape.Admits(class, ""); why != "" {
		return why + " keeps the pod off"
	}
	offers := fit.ResourcesOf(p.Offers)
	if lack := offers.Lacks(class.Requests); lack != "" {
		return fmt.Sprintf("the pod requests %s, a machine offers %s", fit.Format(lack, class.Requests.Amount(lack)), fit.Format(lack, offers.Amount(lack)))
	}
	if p.State != "" {
		return "a new machine would hold it, but: " + p.State
	}
	return "a new machine would hold it"
}

func wishes(r api.PodRequest) []string {
	var said []string
	if r.Pool != "" {
		said = append(said, "only machines of pool "+r.Pool)
	}
	if r.Gang != "" {
		said = append(said, fmt.Sprintf("starts together with the others of gang %s, %d pods in all", r.Gang, r.GangSize))
	}
	if r.AllOrNothing {
		said = append(said, "starts together with the other pods of its Job")
	}
	if r.ExpectedDuration > 0 {
		said = append(said, "is expected to run for "+r.ExpectedDuration.String())
	}
	if r.MaxWait > 0 {
		said = append(said, "waits at most "+r.MaxWait.String()+", then goes to the ordinary queue")
	}
	return said
}

// history is the pod's creation and its events.
func history(pod *corev1.Pod, events []corev1.Event) []Moment {
	moments := []Moment{{Time: pod.CreationTimestamp.Time, Text: "created"}}
	for _, e := range events {
		text := e.Reason + ": " + e.Message
		if e.Count > 1 {
			text += fmt.Sprintf(" (%d times)", e.Count)
		}
		moments = append(moments, Moment{Time: when(e), Text: text})
	}
	slices.SortStableFunc(moments, func(a, b Moment) int { return a.Time.Compare(b.Time) })
	return moments
}

// when is the time of the event: its two APIs have it in different fields.
func when(e corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}
