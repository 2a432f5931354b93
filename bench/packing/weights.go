package packing

// weight says which part of the room, from 0 to 1, an item of that size counts
// for; the size is no larger than the room. Weights of items that fit into the
// room together never add up to more than 1.
type weight func(size, room int64) float64

func (w weight) of(size, room int64) float64 {
	if room == 0 {
		return 0
	}
	return w(size, room)
}

// weights are the plain part of the room, which gives the bound per resource,
// and two families of dual feasible functions, which know how many items of a
// size fit side by side; the first of them counts items larger than half.
//
// Source: S. P. Fekete and J. Schepers, "New classes of fast lower bounds for
// bin packing problems", Mathematical Programming 91 (2001).
var weights = func() []weight {
	all := []weight{plain}
	for k := int64(1); k <= 8; k++ {
		all = append(all, sideBySide(k))
	}
	for percent := int64(5); percent <= 50; percent += 5 {
		all = append(all, complement(percent))
	}
	return all
}()

func plain(size, room int64) float64 { return float64(size) / float64(room) }

// sideBySide counts a size as often as 1/(k+1) of the room goes into it, in
// parts of k.
func sideBySide(k int64) weight {
	return func(size, room int64) float64 {
		scaled := (k + 1) * size
		if scaled%room == 0 {
			return plain(size, room)
		}
		return float64(scaled/room) / float64(k)
	}
}

// complement counts what leaves less than so much beside it as all of the room,
// and what is smaller than that as nothing.
func complement(percent int64) weight {
	return func(size, room int64) float64 {
		switch {
		case 100*size > (100-percent)*room:
			return 1
		case 100*size < percent*room:
			return 0
		}
		return plain(size, room)
	}
}

// shares are the parts in which the weights of two resources are mixed: a
// mixture of admissible ways to count is one itself.
var shares = []float64{0.25, 0.5, 0.75}

// each calls the function with every way to count for so many resources.
func each(resources int, do func(part func(size, room []int64) float64)) {
	for _, w := range weights {
		for a := range resources {
			do(func(size, room []int64) float64 { return w.of(size[a], room[a]) })
			for b := range a {
				for _, share := range shares {
					do(func(size, room []int64) float64 {
						return share*w.of(size[a], room[a]) + (1-share)*w.of(size[b], room[b])
					})
				}
			}
		}
	}
}
