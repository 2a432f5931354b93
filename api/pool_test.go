package api

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestParsePoolTags(t *testing.T) {
	const template = "k8s.io_cluster-autoscaler_node-template_"
	defaults := func(change func(*PoolSettings)) PoolSettings {
		s := PoolSettings{Max: DefaultPoolMax, MaxSurge: Share{Machines: 1}, Labels: map[string]string{}, Resources: corev1.ResourceList{}}
		if change != nil {
			change(&s)
		}
		return s
	}
	for name, tc := range map[string]struct {
		tags    map[string]string
		want    PoolSettings
		wantErr string
	}{
		"untagged": {want: defaults(nil)},
		"everything said": {
			tags: map[string]string{EnabledTag: "enabled", MinTag: "1", MaxTag: "6", IdleAfterTag: "5m", PriceTag: "0.38"},
			want: defaults(func(s *PoolSettings) {
				s.Enabled, s.Min, s.Max, s.IdleAfter, s.PricePerHour = new(true), 1, 6, new(5*time.Minute), 0.38
			}),
		},
		"disabled": {tags: map[string]string{EnabledTag: "disabled"}, want: defaults(func(s *PoolSettings) { s.Enabled = new(false) })},
		"unclear: left alone": {
			tags:    map[string]string{EnabledTag: "yes"},
			want:    defaults(func(s *PoolSettings) { s.Enabled = new(false) }),
			wantErr: `tag tidegate="yes": want "enabled" or "disabled", the pool is left alone`,
		},
		"Cluster Autoscaler's tags": {
			tags: map[string]string{
				"min": "2", "max": "4", "k8s.io_cluster-autoscaler_enabled": "true",
				template + "label_example.com_disk~2kind": "ssd",
				template + "taint_example.com_batch":      "only:NoSchedule",
				template + "resources_nvidia.com_gpu":     "4",
			},
			want: defaults(func(s *PoolSettings) {
				s.OtherAutoscaler, s.Min, s.Max = true, 2, 4
				s.Labels = map[string]string{"example.com/disk_kind": "ssd"}
				s.Taints = []corev1.Taint{{Key: "example.com/batch", Value: "only", Effect: corev1.TaintEffectNoSchedule}}
				s.Resources = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("4")}
			}),
		},
		"our tags before Cluster Autoscaler's": {
			tags: map[string]string{MinTag: "0", "min": "3", MaxTag: "5", "max": "9"},
			want: defaults(func(s *PoolSettings) { s.Max = 5 }),
		},
		"minimum above the maximum": {
			tags:    map[string]string{MinTag: "7", MaxTag: "3"},
			want:    defaults(func(s *PoolSettings) { s.Min, s.Max = 3, 3 }),
			wantErr: "tags say a minimum of 7 and a maximum of 3: the minimum is taken as 3",
		},
		"a maximum that is no number": {
			tags:    map[string]string{MaxTag: "many"},
			want:    defaults(nil),
			wantErr: `tag tidegate-max="many": want an integer from 0 to 1000, 10 is used`,
		},
		"idle at once": {tags: map[string]string{IdleAfterTag: "0s"}, want: defaults(func(s *PoolSettings) { s.IdleAfter = new(time.Duration(0)) })},
		"a negative idle time": {
			tags:    map[string]string{IdleAfterTag: "-5m"},
			want:    defaults(nil),
			wantErr: `tag tidegate-idle-after="-5m": want a duration such as "5m", the measured boot time is used`,
		},
		"a price that is no number": {
			tags:    map[string]string{PriceTag: "NaN"},
			want:    defaults(nil),
			wantErr: `tag tidegate-price-per-hour="NaN": want a positive number such as "0.38", vCPUs are compared instead`,
		},
		"protection":             {tags: map[string]string{ProtectTag: "busy"}, want: defaults(func(s *PoolSettings) { s.ProtectBusy = true })},
		"retire by deallocating": {tags: map[string]string{RetireTag: "deallocate"}, want: defaults(func(s *PoolSettings) { s.Deallocate = true })},
		"retire somehow": {
			tags:    map[string]string{RetireTag: "stop"},
			want:    defaults(nil),
			wantErr: `tag tidegate-retire="stop": want "deallocate", machines are deleted`,
		},
		"protection of what": {
			tags:    map[string]string{ProtectTag: "all"},
			want:    defaults(nil),
			wantErr: `tag tidegate-protect="all": want "busy", no machine is protected`,
		},
		"a surge of machines": {tags: map[string]string{MaxSurgeTag: "3"}, want: defaults(func(s *PoolSettings) { s.MaxSurge = Share{Machines: 3} })},
		"no surge":            {tags: map[string]string{MaxSurgeTag: "0"}, want: defaults(func(s *PoolSettings) { s.MaxSurge = Share{} })},
		"a share of surge":    {tags: map[string]string{MaxSurgeTag: "25%"}, want: defaults(func(s *PoolSettings) { s.MaxSurge = Share{Percent: 25} })},
		"a surge of all there are, and more": {
			tags:    map[string]string{MaxSurgeTag: "lots"},
			want:    defaults(nil),
			wantErr: `tag tidegate-max-surge="lots": want a number of machines such as "2" or a share such as "10%", one machine is replaced at a time`,
		},
		"a taint without an effect": {
			tags:    map[string]string{template + "taint_batch": "only"},
			want:    defaults(nil),
			wantErr: `tag k8s.io_cluster-autoscaler_node-template_taint_batch="only": want VALUE:EFFECT, the taint is ignored`,
		},
		"a resource that is no quantity": {
			tags:    map[string]string{template + "resources_cpu": "four"},
			want:    defaults(nil),
			wantErr: `tag k8s.io_cluster-autoscaler_node-template_resources_cpu="four": want a quantity such as "4" or "16Gi", the resource is ignored`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParsePoolTags(tc.tags)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.wantErr, message(err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestShareOf(t *testing.T) {
	for name, tc := range map[string]struct {
		share    Share
		machines int
		want     int
	}{
		"a number":                 {Share{Machines: 3}, 100, 3},
		"a percentage":             {Share{Percent: 10}, 100, 10},
		"rounded up":               {Share{Percent: 10}, 11, 2},
		"of few at least one":      {Share{Percent: 10}, 1, 1},
		"of none nothing":          {Share{Percent: 10}, 0, 0},
		"nothing, whatever number": {Share{}, 100, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.share.Of(tc.machines); got != tc.want {
				t.Errorf("%+v of %d is %d, want %d", tc.share, tc.machines, got, tc.want)
			}
		})
	}
}

// FuzzParsePoolTags holds the parser to its promise: whatever the tags, the
// settings are usable and never unbounded.
func FuzzParsePoolTags(f *testing.F) {
	f.Add("enabled", "1", "6", "5m", "0.38", "k8s.io_cluster-autoscaler_node-template_taint_a_b", "v:NoSchedule")
	f.Add("", "-1", "1001", "-1s", "-Inf", "k8s.io_cluster-autoscaler_node-template_resources_cpu", "-4")
	f.Add("?", "", "", "", "1e400", "k8s.io_cluster-autoscaler_node-template_", "")
	f.Fuzz(func(t *testing.T, enabled, low, high, idle, price, key, value string) {
		s, _ := ParsePoolTags(map[string]string{
			EnabledTag: enabled, MinTag: low, MaxTag: high, IdleAfterTag: idle, PriceTag: price, key: value,
		})
		if s.Min < 0 || s.Min > s.Max || s.Max > maxPoolSize {
			t.Errorf("bounds %d to %d", s.Min, s.Max)
		}
		if s.IdleAfter != nil && *s.IdleAfter < 0 {
			t.Errorf("idle after %s", *s.IdleAfter)
		}
		if s.PricePerHour < 0 || math.IsNaN(s.PricePerHour) || math.IsInf(s.PricePerHour, 0) {
			t.Errorf("price %v", s.PricePerHour)
		}
		for name, q := range s.Resources {
			if q.Sign() < 0 {
				t.Errorf("%s of %s", q.String(), name)
			}
		}
	})
}
