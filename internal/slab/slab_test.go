package slab

import "testing"

type value struct {
	number int
	points *int
}

// take takes n values, which have to be zero, and writes to each of them.
func take(t *testing.T, s *Of[value], n int) []*value {
	t.Helper()
	var taken []*value
	for i := range n {
		v := s.New()
		if *v != (value{}) {
			t.Fatalf("value %d is not zero: %+v", i, *v)
		}
		v.number, v.points = i, &i
		taken = append(taken, v)
	}
	return taken
}

func TestValuesAreApartUntilReset(t *testing.T) {
	var s Of[value]
	for _, n := range []int{1, size, size + 1, 3 * size, 0, 2} {
		for i, v := range take(t, &s, n) {
			if v.number != i {
				t.Errorf("value %d of %d was overwritten by value %d", i, n, v.number)
			}
		}
		s.Reset()
	}
}

func TestMemoryIsUsedAgain(t *testing.T) {
	var s Of[value]
	first := take(t, &s, 3*size)
	s.Reset()
	if again := take(t, &s, 3*size); again[2*size] != first[2*size] {
		t.Error("other memory than before the Reset")
	}
	if n := testing.AllocsPerRun(10, func() {
		s.Reset()
		for range 3 * size {
			s.New()
		}
	}); n > 0 {
		t.Errorf("%g allocations for as many values as before, want none", n)
	}
}

func TestWhatIsNotNeededIsGivenUp(t *testing.T) {
	var s Of[value]
	take(t, &s, 10*size)
	for range 2 {
		s.Reset()
		take(t, &s, 1)
	}
	s.Reset()
	if len(s.blocks) != 1 {
		t.Errorf("%d blocks are held for a single value", len(s.blocks))
	}
}
