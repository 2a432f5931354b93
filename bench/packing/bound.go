// Package packing bounds from below what a demand costs, whoever plans it.
package packing

import "slices"

// Shape is one kind of machine for sale.
type Shape struct {
	// Price of one machine, in whole units; more than 0.
	Price int64
	// Room is how much of each resource a machine has for pods.
	Room []int64
}

// Items are equal pods.
type Items struct {
	Count int64
	// Size is how much of each resource one of them takes.
	Size []int64
}

// Bound returns a price below which no set of machines holds the items, however
// they are placed. Every item has to fit into one of the shapes.
//
// A machine is paid for by what stands on it: an item pays the part of the
// machine that it counts for, and it cannot pay less than on the shape where
// that is cheapest. What counts on a shape is admissible if items that fit into
// one such machine together never count for more than all of it; then the
// payments never exceed the price. Each shape may count in its own way, and the
// bound looks for the ways with the highest sum. Every sum is a bound; only sums
// of whole machines are prices, so it is rounded up to the next of those.
func Bound(shapes []Shape, demand []Items) int64 {
	b := newBidding(shapes, demand)
	best := 0.0
	for m := range b.ways {
		chosen := make([]int, len(shapes))
		for s := range chosen {
			chosen[s] = m
		}
		best = max(best, b.sum(chosen))
	}
	for _, m := range []int{0, b.ways / 2, b.ways - 1} {
		best = max(best, b.climb(m))
	}
	return nextPrice(shapes, max(best, float64(dearest(shapes, demand))))
}

// bidding holds what one item of each kind would pay on each shape, for every
// way of counting.
type bidding struct {
	demand []Items
	ways   int
	pay    [][][]float64 // by shape, way and kind; negative where it does not fit
}

func newBidding(shapes []Shape, demand []Items) *bidding {
	b := &bidding{demand: demand}
	for _, s := range shapes {
		var ways [][]float64
		each(len(s.Room), func(part func(size, room []int64) float64) {
			var kinds []float64
			for _, items := range demand {
				pay := -1.0
				if fits(items.Size, s.Room) {
					pay = float64(s.Price) * part(items.Size, s.Room)
				}
				kinds = append(kinds, pay)
			}
			ways = append(ways, kinds)
		})
		b.pay = append(b.pay, ways)
		b.ways = len(ways)
	}
	return b
}

// sum is what all items pay if each shape counts in the way chosen for it.
func (b *bidding) sum(chosen []int) float64 {
	sum := 0.0
	for kind, items := range b.demand {
		cheapest := -1.0
		for s, way := range chosen {
			if pay := b.pay[s][way][kind]; pay >= 0 && (cheapest < 0 || pay < cheapest) {
				cheapest = pay
			}
		}
		sum += max(0, cheapest) * float64(items.Count)
	}
	return sum
}

// climb starts with all shapes counting in one way and changes one shape's way
// after another for the better, until no change helps.
func (b *bidding) climb(from int) float64 {
	chosen := make([]int, len(b.pay))
	for s := range chosen {
		chosen[s] = from
	}
	best := b.sum(chosen)
	for better := true; better; {
		better = false
		for s := range chosen {
			kept := chosen[s]
			for way := range b.ways {
				chosen[s] = way
				if sum := b.sum(chosen); sum > best {
					best, kept, better = sum, way, true
				}
			}
			chosen[s] = kept
		}
	}
	return best
}

// dearest is the price of the one machine that some item cannot do without.
func dearest(shapes []Shape, demand []Items) int64 {
	var most int64
	for _, items := range demand {
		var least int64
		for _, s := range shapes {
			if fits(items.Size, s.Room) && (least == 0 || s.Price < least) {
				least = s.Price
			}
		}
		most = max(most, least)
	}
	return most
}

func fits(size, room []int64) bool {
	for r := range size {
		if size[r] > room[r] {
			return false
		}
	}
	return true
}

// nextPrice returns the lowest price of any number of machines that is not
// below the bound. Sums of many parts are inexact: a bound just above a price
// counts as it.
func nextPrice(shapes []Shape, bound float64) int64 {
	const inexact = 1e-6
	reachable := []bool{true}
	for price := int64(0); ; price++ {
		if reachable[price] && float64(price) > bound-inexact {
			return price
		}
		reachable = append(reachable, slices.ContainsFunc(shapes, func(s Shape) bool {
			return s.Price <= price+1 && reachable[price+1-s.Price]
		}))
	}
}
