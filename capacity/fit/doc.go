// Package fit says whether kube-scheduler would let a pod onto a node: the
// filters of its default profile, judged on nodes that exist and on machines
// that do not exist yet. It decides nothing else; the planner chooses.
//
// Pods with equal scheduling fields share one Class, so that each rule is
// judged once for all of them. A World knows where pods stand, for the rules
// that look at more than one node.
package fit
