package azure

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
)

// accessError keeps Tidegate from using Azure at all until somebody acts: IMDS
// or ARM is silent, there is no token, or a role is missing. The sentence says
// what to do.
type accessError struct {
	sentence string
	// denied is true if only one action is refused; otherwise none is possible.
	denied bool
	// sent is true if something was asked for, and no answer came: it may be
	// carried out all the same.
	sent bool
	err  error
}

func (e *accessError) Error() string {
	if e.err == nil {
		return e.sentence
	}
	return e.sentence + " (" + e.err.Error() + ")"
}

func (e *accessError) Unwrap() error { return e.err }

// health remembers what stands between Tidegate and Azure.
type health struct {
	mu     sync.Mutex
	asked  bool
	faults map[string]error // by action; "" concerns every action
}

// note takes in the outcome of an action. Permission is known per action: that
// a set may be read says nothing of whether it may be changed.
func (h *health) note(action string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = true
	fault, isFault := errors.AsType[*accessError](err)
	if isFault && !fault.denied {
		action = ""
	} else { // Azure answered
		delete(h.faults, "")
	}
	if !isFault {
		delete(h.faults, action)
		return
	}
	if h.faults == nil {
		h.faults = map[string]error{}
	}
	h.faults[action] = fault
}

func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.asked {
		return errors.New("no answer from Azure yet: it has not been asked")
	}
	var errs []error
	for _, action := range slices.Sorted(maps.Keys(h.faults)) {
		errs = append(errs, h.faults[action])
	}
	return errors.Join(errs...)
}
