package packing

import (
	"math/rand"
	"testing"
)

func TestBound(t *testing.T) {
	machine := []Shape{{Price: 10, Room: []int64{100, 1000}}}
	sizes := []Shape{{Price: 10, Room: []int64{100}}, {Price: 35, Room: []int64{400}}}
	for name, tc := range map[string]struct {
		shapes []Shape
		demand []Items
		want   int64
	}{
		"nothing":                                    {machine, nil, 0},
		"whole machines":                             {machine, []Items{{1, []int64{1, 1}}}, 10},
		"the scarcer resource counts":                {machine, []Items{{10, []int64{10, 310}}}, 40},
		"no two that are larger than half":           {machine, []Items{{7, []int64{51, 1}}}, 70},
		"two beside each other, not three":           {machine, []Items{{9, []int64{34, 1}}}, 50},
		"what fits beside the large ones is free":    {machine, []Items{{3, []int64{60, 1}}, {3, []int64{40, 1}}}, 30},
		"small ones that do not fit beside large":    {machine, []Items{{3, []int64{60, 1}}, {2, []int64{45, 1}}}, 40},
		"larger than half of either resource":        {machine, []Items{{4, []int64{60, 100}}, {4, []int64{10, 600}}}, 40},
		"large machines are cheaper by size":         {sizes, []Items{{40, []int64{10}}}, 35},
		"small machines are cheaper for little":      {sizes, []Items{{5, []int64{10}}}, 10},
		"an item that only the large machine holds":  {sizes, []Items{{1, []int64{150}}}, 35},
		"sums of prices, not multiples of a divisor": {sizes, []Items{{1, []int64{150}}, {60, []int64{10}}}, 70},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Bound(tc.shapes, tc.demand); got != tc.want {
				t.Errorf("bound %d, want %d", got, tc.want)
			}
		})
	}
}

// TestBoundHolds cuts machines into items: what they cost is enough, so no
// bound may exceed it.
func TestBoundHolds(t *testing.T) {
	for seed := range int64(500) {
		r := rand.New(rand.NewSource(seed))
		shapes, _ := generate(r)
		var demand []Items
		var enough int64
		for range 1 + r.Intn(12) {
			shape := shapes[r.Intn(len(shapes))]
			enough += shape.Price
			left := append([]int64{}, shape.Room...)
			for range 1 + r.Intn(6) {
				size := make([]int64, len(left))
				for i := range size {
					size[i] = r.Int63n(left[i] + 1)
					left[i] -= size[i]
				}
				demand = append(demand, Items{1, size})
			}
		}
		if got := Bound(shapes, demand); got > enough {
			t.Fatalf("seed %d: bound %d, but machines for %d hold everything", seed, got, enough)
		}
	}
}
