package capacity

// lost decides for a node whose machine is gone although nobody committed its
// deletion, and reports whether it is one: Azure took the machine, or a person
// did. Nothing can run on it any more, and while its Node stands the cluster
// waits for the pods that were on it. It is forgotten once its machine was
// missing in two lists; a node that is not silent has a machine, whatever the
// lists say.
func (p *planner) lost(n *Node, po *pool) bool {
	if n.Instance.VMID != "" || n.Recorded == "" || n.Ready || n.Keep != "" || po.Refused != "" {
		return false
	}
	if _, there := p.instance(n.Recorded); there {
		return false
	}
	if n.MissingSince != 0 && po.Lists > n.MissingSince {
		why := "its machine is gone, and Tidegate did not delete it"
		if len(n.Interruptions) > 0 {
			why = "its machine is gone, as Azure had announced"
		}
		p.step(n, Step{Kind: StepForget, Why: why, Lost: true})
	}
	return true
}
