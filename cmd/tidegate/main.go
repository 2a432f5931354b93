// Command tidegate makes a k3s cluster on Azure run its own machines.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/tidegate-k3s/tidegate/cli/layout"
)

func main() {
	root := newRootCommand(filepath.Base(os.Args[0]))
	if cmd, err := root.ExecuteContextC(ctrl.SetupSignalHandler()); err != nil {
		complain(os.Stderr, cmd, err)
		os.Exit(1)
	}
}

// complain writes the error for people; that of a part that runs is one line of
// its log.
func complain(w io.Writer, cmd *cobra.Command, err error) {
	if cmd.GroupID != partsGroup {
		w = layout.Lines{W: w, Width: maxColumns}
	}
	fmt.Fprintln(w, "tidegate:", err)
}

// The groups of commands.
const peopleGroup, partsGroup = "people", "parts"

// version is set by the linker (Makefile, Dockerfile).
var version = "dev"

// pluginName is the name by which kubectl finds the program as its plugin.
const pluginName = "kubectl-tidegate"

// newRootCommand returns the program, called by that name.
func newRootCommand(calledBy string) *cobra.Command {
	root := &cobra.Command{
		Use:           "tidegate",
		Short:         "Machines for batch pods on k3s and Azure scale sets",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	if calledBy == pluginName {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl tidegate"}
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; %s --help lists the flags", err, cmd.CommandPath())
	})
	wrapped := fmt.Sprintf("FlagUsagesWrapped %d", maxColumns)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "FlagUsages", wrapped))
	people := &cobra.Group{ID: peopleGroup, Title: "For people, with their own kubeconfig:"}
	parts := &cobra.Group{ID: partsGroup, Title: "What runs:"}
	root.AddGroup(people, parts)
	for _, cmd := range []*cobra.Command{
		newStatusCommand(), newExplainCommand(), newPlanCommand(), newRetireCommand(), newKeepCommand(),
		newPauseCommand(), newResumeCommand(), newDoctorCommand(), newUninstallCommand(),
	} {
		cmd.GroupID = people.ID
		root.AddCommand(cmd)
	}
	for _, cmd := range []*cobra.Command{newRunCommand(), newAgentCommand(), newK3sCommand(), newEmulatorCommand()} {
		cmd.GroupID = parts.ID
		root.AddCommand(cmd)
	}
	return root
}
