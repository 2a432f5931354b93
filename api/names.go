package api

import "strings"

// Group prefixes every name that Tidegate defines on Kubernetes objects.
const Group = "tidegate.io"

// restrictedGroup is the other prefix: one that kubelets may not write.
const restrictedGroup = "tidegate.node-restriction.kubernetes.io"

// IsOurs reports whether the key of an annotation, label or taint is one of
// Tidegate's.
func IsOurs(key string) bool {
	group, _, _ := strings.Cut(key, "/")
	return group == Group || group == restrictedGroup
}

// What a user says, on pods (or, for GateKey, on a namespace).
const (
	// GateKey opts in: the pod annotation, or the namespace label that opts in
	// every Job pod of the namespace. Values "true" and "false".
	GateKey = Group + "/gate"
	// PoolAnnotation restricts a pod to the pool of that name.
	PoolAnnotation = Group + "/pool"
	// GangAnnotation names an all-or-nothing group within the pod's namespace.
	GangAnnotation = Group + "/gang"
	// GangSizeAnnotation is the number of pods of the gang.
	GangSizeAnnotation = Group + "/gang-size"
	// AllOrNothingAnnotation, "true" on a Job's pods, makes the Job a gang.
	AllOrNothingAnnotation = Group + "/all-or-nothing"
	// ExpectedDurationAnnotation hints how long the pod will run, a Go duration.
	ExpectedDurationAnnotation = Group + "/expected-duration"
	// MaxWaitAnnotation is how long the pod waits at the gate at most, a Go
	// duration; then it is released to the ordinary queue.
	MaxWaitAnnotation = Group + "/max-wait"
)

// What an operator says, on nodes.
const (
	// KeepAnnotation, "true", forbids retiring the node.
	KeepAnnotation = Group + "/keep"
	// RetireAnnotation asks to retire the node as soon as it is empty. Its value
	// is a Fate: what becomes of the machine then. "true" means FateDelete.
	RetireAnnotation = Group + "/retire"
)

// Vetoes of other autoscalers that Tidegate honours.
const (
	// ScaleDownDisabledAnnotation, "true" on a node, keeps it.
	ScaleDownDisabledAnnotation = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
	// DoNotDisruptAnnotation, "true" on a node, keeps it.
	DoNotDisruptAnnotation = "karpenter.sh/do-not-disrupt"
)

// Groups of pods that others start together.
const (
	// kueueGroupLabel names a pod group of Kueue, and kueueGroupSizeAnnotation
	// says how many pods it has. Source: Kueue documentation, "Run a group of
	// Pods".
	kueueGroupLabel          = "kueue.x-k8s.io/pod-group-name"
	kueueGroupSizeAnnotation = "kueue.x-k8s.io/pod-group-total-count"
)

// What Tidegate writes.
const (
	// CapacityGate is the scheduling gate that holds an opted-in pod until
	// there is room for it.
	CapacityGate = Group + "/capacity"
	// CapacityCondition is the pod condition that says why a pod waits.
	CapacityCondition = Group + "/Capacity"
	// GangStartedCondition is the pod condition that says, of a pod at the gate,
	// that other pods of its gang have been let through: it need not wait for
	// the gang to be whole again.
	GangStartedCondition = Group + "/GangStarted"

	// RetiringAnnotation is the mark on a node: no new pods, please. Its value
	// is a Retirement.
	RetiringAnnotation = Group + "/retiring"
	// DeletingAnnotation is the commitment to delete a node's instance. Its
	// value is the instance's VMID. While it stands nobody unfences the node.
	DeletingAnnotation = Group + "/deleting"
	// RestartingAnnotation is the commitment to restart or to reimage a node's
	// machine. Its value is a Restart.
	RestartingAnnotation = Group + "/restarting"
	// OutdatedAnnotation, "true" on a node, says that its machine lacks the scale
	// set's latest model.
	OutdatedAnnotation = Group + "/outdated"
	// VMIDAnnotation records the VM that a node was mapped to.
	VMIDAnnotation = Group + "/vmid"
	// PoolLabel names the pool that a node belongs to.
	PoolLabel = Group + "/pool"

	// RetiredLabel is the fence. Its value is the fence's random token. The
	// prefix is one that kubelets may not write.
	RetiredLabel = restrictedGroup + "/retired"
	// RetiredTaint accompanies the fence, effect NoSchedule, so that schedulers
	// see what the API server would refuse.
	RetiredTaint = Group + "/retired"

	// StartupTaint is one that a pool's agents may join with, effect NoSchedule:
	// Tidegate lifts it when it adopts the node. Until then nothing can be bound
	// there, so a machine of such a pool that is no node can be given up without
	// fear that it joins in that very moment and gets work.
	StartupTaint = Group + "/starting"

	// InterruptionsAnnotation is what the agent on a node reports: what the cloud
	// announces to do to the node's machine. Its value is a JSON list of
	// Interruption. The agent may write nothing else.
	InterruptionsAnnotation = Group + "/interruptions"
	// ApprovedAnnotation is the manager's answer to the agent: those of the
	// reported interruptions, word for word, that need not wait any longer.
	ApprovedAnnotation = Group + "/interruptions-approved"

	// FencePolicy is the ValidatingAdmissionPolicy that enforces the fence.
	FencePolicy = "tidegate-fence"

	// GatePolicy is the MutatingAdmissionPolicy that gates pods in the place of the
	// webhook.
	GatePolicy = "tidegate-gate"

	// AgentPolicy is the ValidatingAdmissionPolicy that keeps each agent to its
	// own node and to InterruptionsAnnotation, and AgentAccount the
	// ServiceAccount that it binds.
	AgentPolicy  = "tidegate-agent"
	AgentAccount = "tidegate-agent"

	// Namespace is where Tidegate's webhook runs and its objects are.
	Namespace = "tidegate-system"
	// ServerNamespace is where those of its pods run that need the network of
	// the server, or the machine, that they are on.
	ServerNamespace = "tidegate-server"
	// WebhookConfiguration is the name of both webhook configurations, and
	// WebhookCASecret the Secret in Namespace that has the webhook's authority.
	WebhookConfiguration = "tidegate"
	WebhookCASecret      = "tidegate-ca"
	// WebhookService is the Service of the webhook in Namespace, and ExtenderHost
	// the name in the extender's certificate.
	WebhookService = "tidegate-webhook"
	ExtenderHost   = "tidegate-extender"
	// ExtenderCASecret is the Secret in ServerNamespace that has the authority of
	// the extender's certificate, as the servers' schedulers trust it.
	ExtenderCASecret = "tidegate-extender-ca"
	// LeaseName is the leader election lease of the capacity manager.
	LeaseName = "tidegate-capacity"
	// ManagedBy is Tidegate's name as field manager and event source.
	ManagedBy = "tidegate"
	// StatusConfigMap holds what the leader publishes for the other parts.
	StatusConfigMap = "tidegate-status"
	// StatusKey is the ConfigMap's key that holds the published Status as JSON.
	StatusKey = "status.json"
	// BasisKey is the key that holds what a dry run needs of the pools, as JSON
	// in the planner's own terms.
	BasisKey = "basis.json"
	// ObserveOnlyAnnotation on StatusConfigMap pauses Tidegate; see ObserveOnly.
	ObserveOnlyAnnotation = Group + "/observe-only"
)

// Azure tags on a scale set.
const (
	// EnabledTag says whether Tidegate manages the set: "enabled" or "disabled".
	EnabledTag = "tidegate"
	// MinTag and MaxTag bound the number of machines.
	MinTag = "tidegate-min"
	MaxTag = "tidegate-max"
	// IdleAfterTag is how long an empty machine is kept, a Go duration.
	IdleAfterTag = "tidegate-idle-after"
	// BufferTag is how many empty machines are kept in reserve: "2", or a share
	// of those that have work, "10%".
	BufferTag = "tidegate-buffer"
	// MaxSurgeTag is how many machines with an outdated model are replaced at the
	// same time although they are in use: "2", or a share of the pool's machines,
	// "10%".
	MaxSurgeTag = "tidegate-max-surge"
	// ProtectTag, ProtectBusy, has machines with work protected from the scale-in
	// that Azure does by itself.
	ProtectTag  = "tidegate-protect"
	ProtectBusy = "busy"
	// RetireTag, RetireDeallocate, has machines retired by deallocating them, to be
	// started again before one is bought.
	RetireTag        = "tidegate-retire"
	RetireDeallocate = "deallocate"
	// PriceTag is the price of one machine per hour, a decimal number in the
	// user's currency.
	PriceTag = "tidegate-price-per-hour"

	// autoscalerMinTag and autoscalerMaxTag are Cluster Autoscaler's tags.
	autoscalerMinTag = "min"
	autoscalerMaxTag = "max"
	// autoscalerTemplatePrefix begins Cluster Autoscaler's tags that describe
	// the nodes of an empty set.
	autoscalerTemplatePrefix = "k8s.io_cluster-autoscaler_node-template_"
	// autoscalerEnabledTag marks a set that Cluster Autoscaler manages.
	autoscalerEnabledTag = "k8s.io_cluster-autoscaler_enabled"
)
