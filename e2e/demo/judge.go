package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/observer"
)

// judge prints what it all came to, the figures as JSON last, and returns what
// went wrong.
func (d *demo) judge(ctx context.Context, o Options, played error) error {
	figures := d.observer.Summary()
	history := d.rig.Azure.Cloud().History()
	errs := []error{played}
	for _, v := range figures.Violations {
		errs = append(errs, errors.New(v))
	}
	if figures.PodsCompleted < d.submitted {
		errs = append(errs, fmt.Errorf("%d of %d pods did not finish", d.submitted-figures.PodsCompleted, d.submitted))
	}
	if left := d.leftOver(); len(left) > 0 {
		errs = append(errs, fmt.Errorf("left over: %s", strings.Join(left, ", ")))
	}
	for _, e := range history {
		if e.Kind == emulator.InstanceFailed {
			errs = append(errs, fmt.Errorf("machine %s could not be provisioned", strings.ToLower(e.ComputerName)))
		}
	}
	if o.Trace == "" && figures.Rescues == 0 {
		errs = append(errs, errors.New("no mark was taken back, although the second wave had to have a marked machine"))
	}
	untouched, err := d.runningBystanders(ctx)
	if err == nil && !maps.Equal(untouched, d.bystanders) {
		err = errors.New("the pods of Deployment web, which never opted in, are not those of the start")
	}
	errs = append(errs, err, failedActions(d.tidegate.Metrics(ctx)))

	printSummary(o.Out, figures)
	if d.long != "" {
		fmt.Fprintln(o.Out, fate(d.long, history))
	}
	verdict := errors.Join(errs...)
	if verdict != nil {
		fmt.Fprintf(o.Out, "NOT as it should be:\n%s\n", verdict)
		keepLog(o.Out, d.tidegate.Log())
	}
	line, err := json.Marshal(figures)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "%s\n", line)
	return verdict
}

// keepLog saves Tidegate's log, which the demo's end would take along.
func keepLog(out io.Writer, log string) {
	file, err := os.CreateTemp("", "tidegate-demo-*.log")
	if err == nil {
		_, err = io.WriteString(file, log)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		fmt.Fprintf(out, "Tidegate's log could not be saved: %v\n", err)
		return
	}
	fmt.Fprintf(out, "Tidegate's log: %s\n", file.Name())
}

// failedActions is an error if Tidegate counted writes that failed, by the
// answer of its metrics endpoint.
func failedActions(status int, text string) error {
	if status != http.StatusOK {
		return fmt.Errorf("read Tidegate's metrics: status %d: %s", status, text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return fmt.Errorf("read Tidegate's metrics: %w", err)
	}
	var errs []error
	for _, m := range families["tidegate_writes_total"].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if n := m.GetCounter().GetValue(); labels["result"] == "error" && n > 0 {
			errs = append(errs, fmt.Errorf("%.0f actions of kind %q failed", n, labels["kind"]))
		}
	}
	return errors.Join(errs...)
}

// fate says what became of the machine of the long pod, compared with what
// Azure's own scale-in would have made of it: it takes the newest first.
func fate(node string, history []emulator.Event) string {
	var set, newest string
	var deletions []string
	for _, e := range history {
		if strings.EqualFold(e.ComputerName, node) {
			set = e.Set
		}
	}
	for _, e := range history {
		switch {
		case e.Set != set:
		case e.Kind == emulator.InstanceDeleting:
			deletions = append(deletions, strings.ToLower(e.ComputerName))
		case e.Kind == emulator.InstanceCreated && len(deletions) == 0:
			newest = strings.ToLower(e.ComputerName)
		}
	}
	text := fmt.Sprintf("The long pod ran on %s, which was machine %d of %d of %s to be deleted.", node, 1+slices.Index(deletions, node), len(deletions), set)
	if newest == node {
		text += " Lowering the capacity would have taken that machine first, as the newest, and the pod with it."
	}
	return text
}

// printSummary tells what the figures say.
func printSummary(out io.Writer, f observer.Summary) {
	fmt.Fprintf(out, `
%d pods waited at the gate, %d were released, %d finished; %d were killed.
%d machines were bought and %d deleted; %d marks were taken back; %d pods were bound too late.
Medians: pod at the gate to request for its machine %d ms, node ready to first pod released %d ms.
Machines existed for %.0f s in all, and had work for %.0f s of that.
`, f.PodsGated, f.PodsReleased, f.PodsCompleted, f.PodsKilled,
		f.MachinesBought, f.MachinesRetired, f.Rescues, f.LateBinds,
		f.GateToRequestMS, f.ReadyToReleaseMS, f.MachineSeconds, f.BusyMachineSeconds)
}
