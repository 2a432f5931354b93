package capacity

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
)

// Decision is what is to be done now.
type Decision struct {
	// Releases are pods to let through the gate.
	Releases []Release
	// Grows are purchases, at most one for each pool.
	Grows []Grow
	// Steps are the next steps of nodes' lives, at most one for each node.
	Steps []Step
	// Protections are changes to what Azure may choose, at most one for each pool.
	Protections []Protection
	// Repairs are machines to give up that are no nodes.
	Repairs []Repair
	// Evictions are pods that landed on a node whose deletion was committed, and
	// pods on machines that Azure is about to take.
	Evictions []Eviction
	// Approvals are interruptions that need not wait for their time.
	Approvals []Approval
	// Reasons say why each gated pod still waits.
	Reasons []Reason
	// NextLook is when time alone may change the decision; zero for never.
	NextLook time.Time
}

// Release lets a pod through the gate, towards the node planned for it.
type Release struct {
	Pod  types.NamespacedName
	UID  types.UID
	Node string
	// Why is set when the pod is released although there is no room for it.
	Why string
}

// Grow buys machines.
type Grow struct {
	Pool string
	// From and To are the pool's capacity now and then; To is the larger.
	From, To int
	// Why says for what, in a few words.
	Why string
}

// StepKind is one step in a node's life.
type StepKind string

// The steps, in the order of a retirement. Unmark and Unfence lead back.
const (
	StepAdopt       StepKind = "adopt"
	StepMark        StepKind = "mark"
	StepUnmark      StepKind = "unmark"
	StepRecordEmpty StepKind = "record-empty"
	StepRecordBusy  StepKind = "record-busy"
	StepFence       StepKind = "fence"
	StepUnfence     StepKind = "unfence"
	StepProve       StepKind = "prove"
	StepCommit      StepKind = "commit"
	StepDelete      StepKind = "delete"
	StepForget      StepKind = "forget"
	// StepRestart takes the place of StepDelete where the machine is to come
	// back, and StepReturn then ends the retirement.
	StepRestart StepKind = "restart"
	StepReturn  StepKind = "return"
	// StepStart starts a machine that was retired by deallocating it.
	StepStart StepKind = "start"
	// StepRecordModel notes on the node whether its machine is outdated, for the
	// scheduler extender.
	StepRecordModel StepKind = "record-model"
	// StepForgetApproval is none of a retirement: it tidies up after an
	// interruption.
	StepForgetApproval StepKind = "forget-approval"
)

// Step is the next step of one node.
type Step struct {
	Node string
	UID  types.UID
	Kind StepKind
	// Pool and Instance are the node's machine.
	Pool     string
	Instance Instance
	// Why says why, in a few words for people.
	Why string
	// Since is when the node became empty, for a RecordEmpty; zero if nobody saw
	// it.
	Since time.Time
	// Fate is what is to become of the machine, for a Commit and a Restart.
	Fate api.Fate
	// Rescue is true for an Unmark or Unfence because demand wants the node.
	Rescue bool
	// Repair is true for a Commit of a machine that is given up because its node is
	// silent.
	Repair bool
	// Lost is true for a Forget of a node whose machine went without us.
	Lost bool
	// Failed is true for a Return of a node whose machine was not restarted, and
	// for a Commit to the deletion of one that is not back.
	Failed bool
	// Reimaged is true for a Forget of a node whose machine is about to join anew.
	Reimaged bool
	// Unproved is true for an Unfence because nobody enforces the fence.
	Unproved bool
}

// Eviction removes a pod from a node whose machine goes in any case.
type Eviction struct {
	Pod  types.NamespacedName
	UID  types.UID
	Node string
	// Why says why the machine goes, in a few words for people.
	Why string
	// Late is true for a pod that landed there after the deletion was committed.
	Late bool
}

// ReasonCode is the short form of a Reason, used as the condition's reason.
type ReasonCode string

// Why a pod waits.
const (
	ReasonMachinesComing ReasonCode = "MachinesComing"
	ReasonRescue         ReasonCode = "NodeTakenBack"
	ReasonGang           ReasonCode = "GangIncomplete"
	ReasonMaximum        ReasonCode = "PoolAtMaximum"
	ReasonAway           ReasonCode = "PoolRefused"
	ReasonQuota          ReasonCode = "QuotaUsedUp"
	ReasonFailing        ReasonCode = "MachinesDoNotJoin"
	ReasonLimit          ReasonCode = "SpendingLimit"
	ReasonNoFit          ReasonCode = "NoPoolFits"
	ReasonOrder          ReasonCode = "OthersFirst"
	ReasonOthersGate     ReasonCode = "OtherGates"
	ReasonPoolsUnknown   ReasonCode = "PoolsUnknown"
	ReasonObserveOnly    ReasonCode = "ObserveOnly"
)

// Reason says why a pod waits.
type Reason struct {
	Pod  types.NamespacedName
	UID  types.UID
	Code ReasonCode
	// Text is a sentence; it does not change while nothing happens.
	Text string
	// Expected is when the pod may start, as far as that is known.
	Expected time.Time
}
