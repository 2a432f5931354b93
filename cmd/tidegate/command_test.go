package main

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// docs/commands.md has exactly the commands for people.
func TestCommandsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`tidegate [^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		for _, command := range regexp.MustCompile("`tidegate ([^`]*)`").FindAllStringSubmatch(row[1], -1) {
			documented = append(documented, command[1])
		}
	}
	var want []string
	for _, cmd := range newRootCommand("tidegate").Commands() {
		if cmd.GroupID == peopleGroup {
			want = append(want, cmd.Use)
		}
	}
	slices.Sort(want)
	slices.Sort(documented)
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("commands (-program +page):\n%s", diff)
	}
}

// Every command says how it is used, and none has a flag without a word about it.
func TestEveryCommandExplainsItself(t *testing.T) {
	for _, calledBy := range []string{"tidegate", pluginName} {
		root := newRootCommand(calledBy)
		name := strings.ReplaceAll(calledBy, "-", " ")
		for _, cmd := range root.Commands() {
			usage := cmd.Long + "\n" + cmd.UsageString()
			if cmd.Short == "" || !strings.Contains(usage, name+" "+cmd.Name()) {
				t.Errorf("%s has no description, or its usage does not name it:\n%s", cmd.Name(), usage)
			}
			for line := range strings.SplitSeq(usage, "\n") {
				if n := utf8.RuneCountInString(line); n > maxColumns {
					t.Errorf("%s --help has %d columns: %s", cmd.Name(), n, line)
				}
				if strings.HasPrefix(strings.TrimSpace(line), "--") && len(strings.Fields(line)) < 3 {
					t.Errorf("%s has a flag that is not explained: %s", cmd.Name(), line)
				}
			}
		}
	}
}

// A mistake in the call is answered with what to do.
func TestMistakesAreAnswered(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no node":         {[]string{"retire"}, "name one node: tidegate retire NODE; tidegate status lists them"},
		"no pod":          {[]string{"explain", "pod"}, "name one pod: tidegate explain pod NAME"},
		"no flag":         {[]string{"status", "--colour"}, "unknown flag: --colour; tidegate status --help lists the flags"},
		"no format":       {[]string{"status", "-o", "xml"}, "want one of json, yaml, wide"},
		"no command":      {[]string{"stats"}, "Did you mean this?\n\tstatus"},
		"no kubeconfig":   {[]string{"status", "--kubeconfig", "/nonexistent"}, "/nonexistent"},
		"no such context": {[]string{"pause", "--kubeconfig", "/dev/null", "--context", "mine"}, `context "mine" does not exist`},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRootCommand("tidegate")
			root.SetArgs(tc.args)
			if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that says %q", err, tc.want)
			}
		})
	}
}

// What is wrong fits the screen for people, and one line of a log.
func TestComplaint(t *testing.T) {
	err := errors.New(strings.Repeat("a long story ", 20))
	for name, args := range map[string][]string{"status": {"status"}, "k3s check": {"k3s", "check"}, "run": {"run"}} {
		t.Run(name, func(t *testing.T) {
			cmd, _, findErr := newRootCommand("tidegate").Find(args)
			if findErr != nil {
				t.Fatal(findErr)
			}
			var out strings.Builder
			complain(&out, cmd, err)
			most, lines := 0, 0
			for line := range strings.Lines(out.String()) {
				most, lines = max(most, utf8.RuneCountInString(line)-1), lines+1
			}
			if isLog := name == "run"; (lines == 1) != isLog || (most > maxColumns) != isLog {
				t.Errorf("%d lines of up to %d columns:\n%s", lines, most, out.String())
			}
		})
	}
}

func TestCompletion(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"commands": {[]string{"st"}, "status\tShow the pools"},
		"formats":  {[]string{"status", "-o", ""}, "json\nyaml\nwide\n"},
		"kinds":    {[]string{"explain", ""}, "pod\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			root := newRootCommand("tidegate")
			root.SetOut(&out)
			root.SetErr(&strings.Builder{})
			root.SetArgs(append([]string{cobra.ShellCompRequestCmd}, tc.args...))
			if err := root.Execute(); err != nil || !strings.Contains(out.String(), tc.want) {
				t.Errorf("completes %q, error %v, want %q", out.String(), err, tc.want)
			}
		})
	}
}
