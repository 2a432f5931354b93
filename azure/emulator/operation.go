package emulator

import (
	"slices"
	"time"
)

// operation is a long-running operation on a scale set. It ends when all its
// instances have reached the state that was asked for.
type operation struct {
	id         string
	set        *scaleSet
	start, end time.Time
	status     string
	err        *Error
	pending    map[*instance]bool
}

// operationRetention is how long the outcome of an operation can be asked for.
const operationRetention = 24 * time.Hour

// newOperation starts an operation on the instances; with none it is done.
func (c *Cloud) newOperation(s *scaleSet, instances []*instance) *operation {
	op := &operation{id: c.newUUID(), set: s, start: c.now, status: "InProgress", pending: map[*instance]bool{}}
	for _, i := range instances {
		op.pending[i] = true
	}
	c.operations[op.id] = op
	s.active = append(s.active, op)
	if len(op.pending) == 0 {
		c.finish(op, nil)
	}
	return op
}

// failLater starts an operation that will end in the given outcome.
func (c *Cloud) failLater(s *scaleSet, late *LateFailure, then func()) *operation {
	op := c.newOperation(s, []*instance{nil}) // a placeholder that never settles
	c.after(late.After.Duration, func() {
		then()
		if op.end.IsZero() {
			c.finish(op, &late.Error)
		}
	})
	return op
}

// preempt ends the operations in progress, because a newer one takes over.
func (c *Cloud) preempt(s *scaleSet) {
	for _, op := range slices.Clone(s.active) {
		c.finish(op, errPreempted())
		op.status = canceled
	}
}

// settle tells every operation that the instance is where it is to be.
func (c *Cloud) settle(i *instance) {
	for _, op := range slices.Clone(i.set.active) {
		if op.pending[i] {
			delete(op.pending, i)
			if len(op.pending) == 0 {
				c.finish(op, nil)
			}
		}
	}
}

func (c *Cloud) finish(op *operation, err *Error) {
	op.status, op.end, op.err, op.pending = succeeded, c.now, err, nil
	if err != nil {
		op.status = failed
	}
	op.set.active = slices.DeleteFunc(op.set.active, func(other *operation) bool { return other == op })
	op.set.failed = err != nil
	c.after(operationRetention, func() { delete(c.operations, op.id) })
}
