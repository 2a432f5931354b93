package api

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// DefaultPoolMax is how far a pool without a maximum grows: an untagged pool
// must never surprise its owner with a bill.
const DefaultPoolMax = 10

// PoolSettings is what a scale set's tags say.
type PoolSettings struct {
	// Enabled is nil when the tags say nothing of Tidegate.
	Enabled *bool
	// OtherAutoscaler is true when the tags give the set to another autoscaler.
	OtherAutoscaler bool
	// Min and Max bound the number of machines.
	Min, Max int
	// IdleAfter is how long an empty machine is kept; nil means the pool's own
	// measured boot time.
	IdleAfter *time.Duration
	// PricePerHour of one machine; 0 means unknown.
	PricePerHour float64
	// Buffer is what is kept in reserve, in empty machines or percent of those
	// that have work.
	Buffer Share
	// MaxSurge is how many outdated machines are replaced at a time, in machines or
	// percent of all.
	MaxSurge Share
	// ProtectBusy is true if machines with work are protected from Azure's own
	// scale-in.
	ProtectBusy bool
	// Deallocate is true if machines are retired by deallocating them.
	Deallocate bool
	// Labels, Taints and Resources describe a node of an empty pool.
	Labels    map[string]string
	Taints    []corev1.Taint
	Resources corev1.ResourceList
}

// DefaultMaxSurge is how many outdated machines are replaced at a time where no
// tag says so. With one at a time a broken model is noticed before it has cost
// more than one machine.
const DefaultMaxSurge = 1

// Share is a number of machines, or a percentage of machines; the other one is 0.
type Share struct{ Machines, Percent int }

// Of returns how many machines the share is of so many, rounded up.
func (s Share) Of(machines int) int {
	if s.Percent == 0 {
		return s.Machines
	}
	return (machines*s.Percent + 99) / 100
}

// ParsePoolTags reads a scale set's tags. A bad value is reported and
// otherwise treated as not said: the settings are usable even when err is not
// nil. The error joins one sentence for each bad value.
func ParsePoolTags(tags map[string]string) (PoolSettings, error) {
	s := PoolSettings{Max: DefaultPoolMax, Labels: map[string]string{}, Resources: corev1.ResourceList{}}
	var errs []error
	switch v, ok := tags[EnabledTag]; {
	case !ok:
	case v == "enabled", v == "disabled":
		on := v == "enabled"
		s.Enabled = &on
	default:
		// On doubt a pool is left alone.
		off := false
		s.Enabled = &off
		errs = append(errs, fmt.Errorf("tag %s=%q: want \"enabled\" or \"disabled\", the pool is left alone", EnabledTag, v))
	}
	s.OtherAutoscaler = tags[autoscalerEnabledTag] == "true"

	var err error
	s.Min, err = parseCount(tags, 0, MinTag, autoscalerMinTag)
	errs = append(errs, err)
	s.Max, err = parseCount(tags, DefaultPoolMax, MaxTag, autoscalerMaxTag)
	errs = append(errs, err)
	if s.Min > s.Max {
		errs = append(errs, fmt.Errorf("tags say a minimum of %d and a maximum of %d: the minimum is taken as %d", s.Min, s.Max, s.Max))
		s.Min = s.Max
	}
	if v, ok := tags[IdleAfterTag]; ok {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			errs = append(errs, fmt.Errorf("tag %s=%q: want a duration such as \"5m\", the measured boot time is used", IdleAfterTag, v))
		} else {
			s.IdleAfter = &d
		}
	}
	if v, ok := tags[PriceTag]; ok {
		p, err := strconv.ParseFloat(v, 64)
		if err != nil || !(p > 0 && p < 1e6) { // the comparison also refuses NaN
			errs = append(errs, fmt.Errorf("tag %s=%q: want a positive number such as \"0.38\", vCPUs are compared instead", PriceTag, v))
		} else {
			s.PricePerHour = p
		}
	}
	s.ProtectBusy, err = parseWord(tags, ProtectTag, ProtectBusy, "no machine is protected")
	errs = append(errs, err)
	s.Deallocate, err = parseWord(tags, RetireTag, RetireDeallocate, "machines are deleted")
	errs = append(errs, err)
	s.Buffer, err = parseShare(tags, BufferTag, Share{}, "nothing is kept in reserve")
	errs = append(errs, err)
	s.MaxSurge, err = parseShare(tags, MaxSurgeTag, Share{Machines: DefaultMaxSurge}, "one machine is replaced at a time")
	errs = append(errs, err, s.parseTemplate(tags))
	return s, errors.Join(errs...)
}

// parseWord reports whether a tag has the one value that it may have; instead says
// what a bad value means.
func parseWord(tags map[string]string, tag, word, instead string) (bool, error) {
	switch v, ok := tags[tag]; {
	case !ok:
		return false, nil
	case v == word:
		return true, nil
	default:
		return false, fmt.Errorf("tag %s=%q: want %q, %s", tag, v, word, instead)
	}
}

// parseShare reads a tag; instead says what the default for a bad value means.
func parseShare(tags map[string]string, tag string, fallback Share, instead string) (Share, error) {
	v, ok := tags[tag]
	if !ok {
		return fallback, nil
	}
	number, percent := strings.CutSuffix(v, "%")
	n, err := strconv.Atoi(number)
	switch {
	case err != nil || n < 0 || n > maxPoolSize:
		return fallback, fmt.Errorf("tag %s=%q: want a number of machines such as \"2\" or a share such as \"10%%\", %s", tag, v, instead)
	case percent:
		return Share{Percent: n}, nil
	}
	return Share{Machines: n}, nil
}

// parseTemplate reads Cluster Autoscaler's node-template tags. Azure forbids
// "/" in tag names, so "_" stands for it there and "~2" for "_".
// Source: Cluster Autoscaler, cloudprovider/azure/README.md.
func (s *PoolSettings) parseTemplate(tags map[string]string) error {
	var errs []error
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		value := tags[tag]
		rest, ok := strings.CutPrefix(tag, autoscalerTemplatePrefix)
		if !ok {
			continue
		}
		kind, key, _ := strings.Cut(rest, "_")
		key = strings.ReplaceAll(strings.ReplaceAll(key, "_", "/"), "~2", "_")
		switch kind {
		case "label":
			s.Labels[key] = value
		case "taint":
			v, effect, ok := strings.Cut(value, ":")
			if !ok || effect == "" {
				errs = append(errs, fmt.Errorf("tag %s=%q: want VALUE:EFFECT, the taint is ignored", tag, value))
				continue
			}
			s.Taints = append(s.Taints, corev1.Taint{Key: key, Value: v, Effect: corev1.TaintEffect(effect)})
		case "resources":
			q, err := resource.ParseQuantity(value)
			if err != nil || q.Sign() < 0 {
				errs = append(errs, fmt.Errorf("tag %s=%q: want a quantity such as \"4\" or \"16Gi\", the resource is ignored", tag, value))
				continue
			}
			s.Resources[corev1.ResourceName(key)] = q
		}
	}
	return errors.Join(errs...)
}

// maxPoolSize is the most instances a scale set can have.
// Source: Azure documentation, "Virtual Machine Scale Sets limits".
const maxPoolSize = 1000

// parseCount reads the first of the tags that is present.
func parseCount(tags map[string]string, absent int, names ...string) (int, error) {
	for _, name := range names {
		v, ok := tags[name]
		if !ok {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > maxPoolSize {
			return absent, fmt.Errorf("tag %s=%q: want an integer from 0 to %d, %d is used", name, v, maxPoolSize, absent)
		}
		return n, nil
	}
	return absent, nil
}
