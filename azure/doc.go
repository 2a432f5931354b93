// Package azure is the production cloud: managed identity, discovery of the
// scale sets that are pools, growth and deletion. It decides nothing; package
// capacity does.
//
// Two things it never does, whoever asks: it never lowers a scale set's
// capacity, which would let Azure choose the machines to destroy, and it never
// touches the scale set or the VM that Tidegate itself runs on.
package azure
