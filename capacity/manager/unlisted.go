package manager

import (
	"time"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// unlistedTimeout is how long a machine that the capacity counts may be in no list
// before it is not counted on any more: as much as one that is listed gets to join.
// Azure lists what it creates within seconds.
const unlistedTimeout = 15 * time.Minute

// shortage is the fewest machines that were missing from the lists of a pool's
// machines since some time. So many were missing all the while, however much the
// pool grew and shrank.
type shortage struct {
	since time.Time
	least int
}

// countUnlisted notes, at a new list of the pool's machines, how many of its
// capacity it lacks.
func (s *poolState) countUnlisted(now time.Time) {
	missing := s.Capacity
	for _, i := range s.Instances {
		if i.State != capacity.InstanceDeleting {
			missing--
		}
	}
	missing = max(0, missing)
	s.Unlisted = min(s.Unlisted, missing)
	u := &s.shortage
	switch {
	case u.least == 0: // the list before, or one since then, was complete
		*u = shortage{since: now, least: missing}
	case now.Sub(u.since) >= unlistedTimeout:
		s.Unlisted = min(u.least, missing)
		*u = shortage{since: now, least: missing}
	default:
		u.least = min(u.least, missing)
	}
}
