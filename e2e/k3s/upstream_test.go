// Package k3s holds what tidegate k3s check knows of kube-scheduler against
// kube-scheduler's own code.
package k3s

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"

	"github.com/tidegate-k3s/tidegate/k3s"
)

// found are the findings on a server whose scheduler has these arguments and a
// configuration that ends in this text, as far as they contain the word.
func found(word, args, configuration string) []string {
	const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
	server := fstest.MapFS{
		k3s.Snippet:         {Data: []byte("kube-scheduler-arg+: [config=/" + k3s.SchedulerConfig + args + "]\n")},
		k3s.SchedulerConfig: {Data: []byte(head + configuration)},
	}
	var texts []string
	for _, f := range k3s.Check(server, time.Now()) {
		if strings.Contains(f.Problem, word) {
			texts = append(texts, f.String())
		}
	}
	return texts
}

func TestFlags(t *testing.T) {
	app.NewSchedulerCommand().Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "version" { // the scheduler ends with them
			return
		}
		if texts := found("has no flag", ", "+f.Name+"=x", ""); len(texts) > 0 {
			t.Errorf("the scheduler takes the flag: %q", texts)
		}
	})
	if texts := found("has no flag", ", nonsense=x", ""); len(texts) != 1 {
		t.Errorf("of a flag that is none: %q", texts)
	}
}

func TestPlugins(t *testing.T) {
	const profile = "profiles: [{plugins: {multiPoint: {enabled: [{name: %s}]}}}]\n"
	for name := range plugins.NewInTreeRegistry() {
		if texts := found("has no such plugin", "", fmt.Sprintf(profile, name)); len(texts) > 0 {
			t.Errorf("the scheduler has the plugin: %q", texts)
		}
	}
	if texts := found("has no such plugin", "", fmt.Sprintf(profile, "Nonsense")); len(texts) != 1 {
		t.Errorf("of a plugin that is none: %q", texts)
	}
}

// What the scheduler's own validation says of a value, tidegate k3s check says.
func TestValues(t *testing.T) {
	for text, field := range map[string]string{
		"parallelism: 8":                     "",
		"parallelism: 0":                     "parallelism",
		"parallelism: -5":                    "parallelism",
		"profiles: [{}]":                     "",
		"profiles: [{}, {schedulerName: a}]": "profiles[0].schedulerName",
		"profiles: [{schedulerName: a}, {schedulerName: a}]":                                      "profiles[1].schedulerName",
		"profiles: [{schedulerName: ''}]":                                                         "profiles[0].schedulerName",
		"profiles: [{percentageOfNodesToScore: 101}]":                                             "profiles[0].percentageOfNodesToScore",
		"profiles: [{pluginConfig: [{name: VolumeBinding}, {name: VolumeBinding}]}]":              "profiles[0].pluginConfig[1]",
		"profiles: [{plugins: {queueSort: {enabled: [{name: PrioritySort}, {name: NodeName}]}}}]": "profiles[0].plugins.queueSort",
		"percentageOfNodesToScore: 0":                                                             "",
		"percentageOfNodesToScore: -1":                                                            "percentageOfNodesToScore",
		"podInitialBackoffSeconds: 0":                                                             "podInitialBackoffSeconds",
		"podInitialBackoffSeconds: 11":                                                            "podMaxBackoffSeconds",
		"podMaxBackoffSeconds: 1":                                                                 "",
		"leaderElection: {leaseDuration: 1s}":                                                     "leaderElection.leaseDuration",
		"leaderElection: {leaderElect: false, leaseDuration: 1s}":                                 "",
		"leaderElection: {resourceLock: endpoints}":                                               "leaderElection.resourceLock",
		"clientConnection: {burst: -1}":                                                           "clientConnection.burst",
		"extenders: [{urlPrefix: a, prioritizeVerb: b}]":                                          "extenders[0].weight",
		"extenders: [{urlPrefix: a, managedResources: [{name: 'a b'}]}]":                          "extenders[0].managedResources[0].name",
		"extenders: [{urlPrefix: a, managedResources: [{name: cpu}]}]":                            "extenders[0].managedResources[0].name",
		"extenders: [{urlPrefix: a, bindVerb: b}, {urlPrefix: c, bindVerb: d}]":                   "extenders",
	} {
		t.Run(text, func(t *testing.T) {
			const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
			obj, _, err := scheme.Codecs.UniversalDecoder().Decode([]byte(head+text), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = validation.ValidateKubeSchedulerConfiguration(obj.(*config.KubeSchedulerConfiguration))
			if refuses := field != "" && strings.Contains(fmt.Sprint(err), field); refuses != (field != "") || (err != nil) != refuses {
				t.Fatalf("the scheduler says %v, want it to name %q", err, field)
			}
			texts := found(field, "", text+"\n")
			if said := len(texts) > 0; field != "" && !said {
				t.Errorf("k3s check says nothing of what the scheduler refuses: %v", err)
			}
			if texts := found("Invalid value", "", text+"\n"); field == "" && len(texts) > 0 {
				t.Errorf("k3s check refuses what the scheduler takes: %q", texts)
			}
		})
	}
}
