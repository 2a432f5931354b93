// Command kube is a Kubernetes control plane in one file: it is kube-apiserver, kube-scheduler,
// kube-controller-manager, kubectl, kine or kwok, whichever its first argument (or the name it is called by) says.
// One binary links the code that they share once.
//
// With the word "supervised" in front of that name it ends as soon as its standard input does. A parent that holds
// the other end of that pipe can thus leave nobody behind, however it dies.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	_ "time/tzdata" // time zones of CronJobs, as in upstream's own main packages

	kine "github.com/k3s-io/kine/pkg/app"
	"github.com/spf13/pflag"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/signals"
)

var programs = map[string]func() int{
	"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
	"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kubectl":                 runKubectl,
	"kine":                    runKine,
	"kwok":                    runKWOK,
}

func main() {
	args := os.Args
	if programs[filepath.Base(args[0])] == nil {
		args = args[1:]
	}
	if len(args) > 0 && args[0] == "supervised" {
		go exitWithParent()
		args = args[1:]
	}
	if len(args) == 0 || programs[filepath.Base(args[0])] == nil {
		fmt.Fprintln(os.Stderr, "usage: kube [supervised] kube-apiserver|kube-controller-manager|kube-scheduler|kubectl|kine|kwok [flags]")
		os.Exit(2)
	}
	os.Args = args
	os.Exit(programs[filepath.Base(args[0])]())
}

func exitWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// forgetFlags drops what the packages of other programs have registered for every command of this process.
func forgetFlags() { pflag.CommandLine = pflag.NewFlagSet(os.Args[0], pflag.ExitOnError) }

func runKubectl() int {
	forgetFlags()
	kubectlutil.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
	return 0
}

func runKine() int {
	if err := kine.New().Run(os.Args); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "kine:", err)
		return 1
	}
	return 0
}

// runKWOK parses the flags twice, as kwok's own main does: its configuration file is read before the command exists,
// because it sets the defaults of the command's flags.
func runKWOK() int {
	forgetFlags()
	flags := pflag.NewFlagSet("kwok", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	ctx, _ := kwoklog.InitFlags(signals.SetupSignalContext(), flags)
	ctx, err := kwokconfig.InitFlags(ctx, flags)
	if err == nil {
		command := kwok.NewCommand(ctx)
		command.PersistentFlags().AddFlagSet(flags)
		err = command.ExecuteContext(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kwok:", err)
		return 1
	}
	return 0
}
