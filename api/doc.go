// Package api is Tidegate's vocabulary: every annotation, label, taint, gate,
// condition and tag that Tidegate reads or writes, each with its parser and
// its error text. No other package spells one of these strings.
package api
