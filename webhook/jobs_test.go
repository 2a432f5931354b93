package webhook

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
)

func TestJobWarnings(t *testing.T) {
	optIn := map[string]string{api.GateKey: "true"}
	for name, tc := range map[string]struct {
		path        string
		namespace   string
		annotations map[string]string
		requests    corev1.ResourceList
		limits      corev1.ResourceList
		status      client.Reader
		want        []string
	}{
		"fits":         {annotations: optIn, requests: offers("15", "1Gi", ""), status: publishes(agents, big)},
		"fits exactly": {annotations: optIn, requests: offers("15.6", "15Gi", "1"), status: publishes(agents, big)},
		"too large":    {annotations: optIn, requests: offers("96", "1Gi", ""), status: publishes(agents, big), want: []string{"requests 96 cpu; the largest machine of any pool offers 15.6"}},
		"two are too large": {annotations: optIn, requests: offers("96", "100Gi", ""), status: publishes(agents, big), want: []string{
			"requests 96 cpu; the largest machine of any pool offers 15.6",
			"requests 100Gi memory; the largest machine of any pool offers 30Gi",
		}},
		"each fits somewhere, all nowhere": {annotations: optIn, requests: offers("10", "20Gi", ""), status: publishes(agents, big), want: []string{"requests 10 cpu, 20Gi memory; no single machine of any pool offers all of that"}},
		"a resource that nobody has":       {annotations: optIn, requests: corev1.ResourceList{"amd.com/gpu": resource.MustParse("2")}, status: publishes(agents, big), want: []string{"requests 2 amd.com/gpu; no machine of any pool offers any"}},
		"digits without end":               {annotations: optIn, requests: corev1.ResourceList{"cpu": resource.MustParse("1e999999999")}, status: publishes(agents), want: []string{"requests more cpu than can be counted; no machine of any pool offers that"}},
		"limits stand for requests":        {annotations: optIn, limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("4")}, status: publishes(agents, big), want: []string{"requests 4 nvidia.com/gpu; the largest machine of any pool offers 1"}},
		"requests before limits":           {annotations: optIn, requests: offers("1", "1Gi", ""), limits: offers("96", "1Gi", ""), status: publishes(agents, big)},
		"too large for its own pool":       {annotations: map[string]string{api.GateKey: "true", api.PoolAnnotation: "agents"}, requests: offers("10", "1Gi", ""), status: publishes(agents, big), want: []string{"requests 10 cpu; the largest machine of pool agents offers 7.8"}},
		"no such pool":                     {annotations: map[string]string{api.GateKey: "true", api.PoolAnnotation: "agent"}, status: publishes(big, agents), want: []string{`annotation tidegate.io/pool="agent": no such pool, the known ones are agents, big`}},
		"a pool not seen yet may hold it":  {annotations: optIn, requests: offers("96", "1Gi", ""), status: publishes(agents, unseen)},
		"disks are not judged":             {annotations: optIn, requests: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("1Ti")}, status: publishes(agents)},
		"not opted in":                     {requests: offers("96", "1Gi", ""), status: publishes(agents)},
		"opted in by namespace":            {path: ValidateJobsByNamespacePath, requests: offers("96", "1Gi", ""), status: publishes(agents), want: []string{"requests 96 cpu; the largest machine of any pool offers 7.8"}},
		"opted out of its namespace":       {path: ValidateJobsByNamespacePath, annotations: map[string]string{api.GateKey: "false"}, requests: offers("96", "1Gi", ""), status: publishes(agents)},
		"in kube-system":                   {namespace: "kube-system", annotations: map[string]string{api.GateKey: "yes"}, status: publishes(agents)},
		"bad values are told without opt-in": {annotations: map[string]string{api.GangAnnotation: "g", api.ExpectedDurationAnnotation: "long"}, status: publishes(agents), want: []string{
			"annotation tidegate.io/gang is set without tidegate.io/gang-size: say how many pods the gang has, the pod is treated as a single pod",
			`annotation tidegate.io/expected-duration="long": want a positive duration such as "90s" or "2h30m", the value is ignored`,
		}},
		"no status":            {annotations: optIn, requests: offers("96", "1Gi", ""), status: noStatus},
		"status without pools": {annotations: optIn, requests: offers("96", "1Gi", ""), status: publishes()},
		"status unreadable":    {annotations: optIn, requests: offers("96", "1Gi", ""), status: configMapReader{data: map[string]string{api.StatusKey: "{"}}},
		"status never comes":   {annotations: optIn, requests: offers("96", "1Gi", ""), status: hangingReader{}},
	} {
		t.Run(name, func(t *testing.T) {
			path, namespace := tc.path, tc.namespace
			if path == "" {
				path = ValidateJobsPath
			}
			if namespace == "" {
				namespace = "default"
			}
			var job batchv1.Job
			job.Spec.Template.Annotations = tc.annotations
			job.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Requests: tc.requests, Limits: tc.limits}}}
			cronJob := batchv1.CronJob{Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{Spec: job.Spec}}}

			handler := Handlers(tc.status)[path]
			_, warnings := submit(t, handler, "jobs", namespace, job)
			diff(t, "warnings for the Job", tc.want, warnings)
			_, warnings = submit(t, handler, "cronjobs", namespace, cronJob)
			diff(t, "warnings for the CronJob", tc.want, warnings)
		})
	}
}

func TestUnreadableJobIsAdmitted(t *testing.T) {
	for _, resource := range []string{"jobs", "cronjobs"} {
		_, warnings := submit(t, Handlers(noStatus)[ValidateJobsPath], resource, "default", map[string]any{"spec": "one day a string"})
		if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "Tidegate cannot read this object and leaves it as it is: ") {
			t.Errorf("%s: warnings %q, want one that says so", resource, warnings)
		}
	}
}
