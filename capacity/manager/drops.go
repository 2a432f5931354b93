package manager

import (
	"maps"
	"slices"
	"time"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// compare notes that the capacity is lower than it was, if that was not us.
func (s *poolState) compare(read capacity.Pool, now time.Time) {
	ours := s.Growing || s.unsure || s.outdated
	// Azure takes Spot machines as it likes.
	if s.Listed && !ours && !read.Spot && !read.Gone {
		if from := s.Capacity - s.excuse(s.Capacity-read.Capacity); read.Capacity < from {
			s.dropped = &capacity.Lowered{From: from, To: read.Capacity, At: now}
		}
	}
	if s.awaited == 0 && s.dropped != nil {
		s.Lowered, s.dropped = s.dropped, nil
	}
	if read.Settled {
		s.unsure = false
	}
}

// excuse puts a drop by so many machines down to those that the cloud has announced to
// take, each once, and returns how many these are.
func (s *poolState) excuse(drop int) int {
	excused := 0
	for _, vmid := range slices.Sorted(maps.Keys(s.announced)) {
		if excused < drop && !s.excused[vmid] {
			s.excused[vmid] = true
			excused++
		}
	}
	return excused
}

// expectLosses says of which pools machines are about to go without us: these
// are read more often. Of the announced ones it says which they are.
func (p *pools) expectLosses(leaving map[string]bool, announced map[string][]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, s := range p.states {
		before := s.excused
		s.announced, s.excused = map[string]bool{}, map[string]bool{}
		for _, vmid := range announced[name] {
			s.announced[vmid] = true
			if before[vmid] {
				s.excused[vmid] = true
			}
		}
		if leaving[name] && !s.leaving {
			p.soon()
		}
		s.leaving = leaving[name]
	}
}
