package cluster

import (
	"cmp"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// list holds objects of one kind in the order of their names.
type list []client.Object

// with is the list with the object, in place of one of its name. Neither it nor
// without keeps the list that it was made from.
func (l list) with(o client.Object) list {
	at, found := slices.BinarySearchFunc(l, o, compareNames)
	if found {
		l[at] = o
		return l
	}
	return slices.Insert(l, at, o)
}

// without is the list without the object of that name.
func (l list) without(o client.Object) list {
	if at, found := slices.BinarySearchFunc(l, o, compareNames); found {
		return slices.Delete(l, at, at+1)
	}
	return l
}

// all returns the objects of the list, which are all of the type.
func all[T client.Object](l list) []T {
	typed := make([]T, len(l))
	for i, o := range l {
		typed[i] = o.(T)
	}
	return typed
}

func compareNames(a, b client.Object) int {
	return cmp.Or(strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
}
