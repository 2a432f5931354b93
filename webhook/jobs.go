package webhook

import (
	"context"
	"encoding/json"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/tidegate-k3s/tidegate/api"
)

// jobHandler warns about the pods that a Job or a CronJob will create: what is
// said when these are created themselves reaches only the Job controller.
type jobHandler struct {
	status statusReader
	// namespaceOptIn is true in a namespace that opts its Jobs in.
	namespaceOptIn bool
}

func (h jobHandler) Handle(ctx context.Context, req admission.Request) admission.Response {
	if req.SubResource != "" || req.Namespace == metav1.NamespaceSystem || req.Namespace == api.Namespace {
		return admission.Allowed("")
	}
	template, err := podTemplate(req)
	if err != nil {
		return unreadable(err)
	}
	if template == nil {
		return admission.Allowed("")
	}
	request, err := api.ParsePodRequest(template.Annotations)
	warnings := sentences(err)
	if optedIn(request, h.namespaceOptIn) {
		pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		warnings = append(warnings, shortfalls(pod, request.Pool, h.status.pools(ctx))...)
	}
	return admission.Allowed("").WithWarnings(warnings...)
}

// podTemplate returns the template of the Job or CronJob, nil for any other
// object and for a deletion.
func podTemplate(req admission.Request) (*corev1.PodTemplateSpec, error) {
	if len(req.Object.Raw) == 0 {
		return nil, nil
	}
	switch req.Resource.Resource {
	case "jobs":
		var job batchv1.Job
		if err := json.Unmarshal(req.Object.Raw, &job); err != nil {
			return nil, err
		}
		return &job.Spec.Template, nil
	case "cronjobs":
		var cronJob batchv1.CronJob
		if err := json.Unmarshal(req.Object.Raw, &cronJob); err != nil {
			return nil, err
		}
		return &cronJob.Spec.JobTemplate.Spec.Template, nil
	}
	return nil, nil
}
