package mix

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	karpenterv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/cloudprovider/fake"
)

// instanceTypes is how many Karpenter's benchmark offers.
const instanceTypes = 400

// InstanceTypes returns the catalogue of Karpenter's benchmark: one to 400
// CPUs, each with 2 GiB of memory and room for 10 pods, in three zones on
// demand and in two of them as spot.
func InstanceTypes() []*cloudprovider.InstanceType { return fake.InstanceTypes(instanceTypes) }

// Offer is one thing that can be bought: an instance type in a zone, on demand
// or spot.
type Offer struct {
	InstanceType, Zone, CapacityType string
	// Labels are those of a node of it, but for its host name.
	Labels map[string]string
	// Allocatable is what such a node offers to pods.
	Allocatable corev1.ResourceList
	// Price of an hour.
	Price float64
}

// Offers lists all that the catalogue has for sale.
func Offers(catalogue []*cloudprovider.InstanceType) []Offer {
	var offers []Offer
	for _, it := range catalogue {
		for _, o := range it.Offerings.Available() {
			offers = append(offers, OfferOf(it, o))
		}
	}
	return offers
}

// OfferOf is one offering of an instance type.
func OfferOf(it *cloudprovider.InstanceType, o *cloudprovider.Offering) Offer {
	labels := map[string]string{}
	for key, requirement := range it.Requirements {
		if found := requirement.Values(); len(found) == 1 {
			labels[key] = found[0]
		}
	}
	maps.Copy(labels, map[string]string{
		corev1.LabelOSStable:             string(corev1.Linux), // the types offer several
		corev1.LabelTopologyZone:         o.Zone(),
		karpenterv1.CapacityTypeLabelKey: o.CapacityType(),
	})
	return Offer{
		InstanceType: it.Name, Zone: o.Zone(), CapacityType: o.CapacityType(),
		Labels: labels, Allocatable: it.Allocatable(), Price: o.Price,
	}
}

// Price is what the machines cost together for an hour.
func Price(machines []Offer) float64 {
	sum := 0.0
	for _, m := range machines {
		sum += m.Price
	}
	return sum
}
