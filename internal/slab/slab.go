// Package slab makes many values of one type in little time: it allocates them in
// blocks, and uses the blocks again.
package slab

// size is how many values a block has: few enough that a short list wastes little,
// and enough that to allocate blocks takes no time beside using them.
const size = 128

// Of is values of one type. The zero value is ready for use, by one goroutine at a
// time.
type Of[T any] struct {
	blocks [][]T
	used   int
}

// New returns one more value, zero. It is the caller's until the next Reset.
func (s *Of[T]) New() *T {
	if s.used == len(s.blocks)*size {
		s.blocks = append(s.blocks, make([]T, size))
	}
	v := &s.blocks[s.used/size][s.used%size]
	s.used++
	return v
}

// Reset takes all values back, so that New returns the same memory again. Blocks
// that were not needed since the Reset before are given up: what a rare large use
// took, and what it points to, is not held for ever.
func (s *Of[T]) Reset() {
	needed := (s.used + size - 1) / size
	clear(s.blocks[needed:])
	s.blocks, s.used = s.blocks[:needed], 0
	for _, block := range s.blocks {
		clear(block)
	}
}
