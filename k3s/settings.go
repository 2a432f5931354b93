package k3s

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	mainConfig = "etc/rancher/k3s/config.yaml"
	dropIns    = "etc/rancher/k3s/config.yaml.d"
	// argsKey adds arguments to the scheduler. With a plus behind it the value is
	// added to what earlier files say, without one it replaces that.
	argsKey = "kube-scheduler-arg"
	// defaultDataDir is where k3s keeps its data if nothing else is said, by one
	// of dataDirKeys. Source: k3s documentation, "k3s server", "Data".
	defaultDataDir = "/var/lib/rancher/k3s"
)

var dataDirKeys = []string{"data-dir", "d"}

// settings is what k3s' configuration files say of the scheduler.
type settings struct {
	args []arg
	// dataDir is the absolute path of the folder where k3s keeps its data.
	dataDir string
}

// arg is an argument of the scheduler, without leading dashes, and the absolute
// path of the file that gives it.
type arg struct{ text, file string }

// readSettings reads k3s' configuration files, but for one drop-in if its path
// is given: config.yaml first, then the drop-ins by name. Source: k3s
// documentation, "Configuration File", section "Multiple Config Files".
func readSettings(server fs.FS, without string) (settings, []Finding) {
	s := settings{dataDir: defaultDataDir}
	files := []string{mainConfig}
	entries, err := fs.ReadDir(server, dropIns)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, []Finding{unreadable("/"+dropIns, err, "make it readable")}
	}
	for _, entry := range entries { // sorted by name
		extension := strings.ToLower(path.Ext(entry.Name()))
		if file := path.Join(dropIns, entry.Name()); !entry.IsDir() && file != without && (extension == ".yaml" || extension == ".yml") {
			files = append(files, file)
		}
	}
	var findings []Finding
	for _, name := range files {
		text, err := fs.ReadFile(server, name)
		if name == mainConfig && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			findings = append(findings, unreadable("/"+name, err, "make it readable"))
			continue
		}
		if err := s.add("/"+name, text); err != nil {
			findings = append(findings, Finding{"/" + name, err.Error(), "k3s cannot start with it: mend it"})
		}
	}
	return s, findings
}

// add adds what one more file says.
func (s *settings) add(file string, text []byte) error {
	var config map[string]any
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		return err
	}
	if value, ok := config[argsKey]; ok {
		s.args = arguments(value, file)
	}
	if value, ok := config[argsKey+"+"]; ok {
		s.args = append(slices.Clone(s.args), arguments(value, file)...)
	}
	for _, key := range dataDirKeys {
		if value, ok := config[key]; ok {
			s.dataDir = path.Clean(fmt.Sprint(value))
		}
	}
	return nil
}

// arguments reads a value that may be one item or several.
func arguments(value any, file string) []arg {
	items, ok := value.([]any)
	if !ok {
		items = []any{value}
	}
	args := make([]arg, len(items))
	for i, item := range items {
		args[i] = arg{strings.TrimLeft(fmt.Sprint(item), "-"), file}
	}
	return args
}

// configFiles are the configurations that the scheduler is given.
func (s settings) configFiles() []string {
	var files []string
	for _, a := range s.args {
		if value, ok := strings.CutPrefix(a.text, "config="); ok {
			files = append(files, value)
		}
	}
	return files
}

// configFile finds the one configuration that the scheduler is to have.
func (s settings) configFile() (string, []Finding) {
	files := s.configFiles()
	snippet := "/" + Snippet
	switch {
	case len(files) == 0 && len(s.args) == 0:
		return "", []Finding{{snippet, "k3s is not told of a scheduler configuration", reinstall}}
	case len(files) == 0:
		return "", []Finding{{snippet, fmt.Sprintf("the scheduler gets no configuration, and %q from %s: that file has %s without a plus", s.args[0].text, s.args[0].file, argsKey), "write " + argsKey + "+ there"}}
	case len(files) > 1:
		return "", []Finding{{snippet, fmt.Sprintf("the scheduler takes one configuration and is given %s", strings.Join(files, ", ")),
			"keep one: with one of your own that has Tidegate's entry under extenders, remove " + snippet}}
	case !path.IsAbs(files[0]) || path.Clean(files[0]) != files[0]:
		return "", []Finding{{snippet, fmt.Sprintf("config=%s is no plain absolute path", files[0]), "name the file by its absolute path"}}
	}
	return files[0], nil
}

// checkArgs looks for arguments with which the scheduler ends at once.
func (s settings) checkArgs() (findings []Finding) {
	for _, a := range s.args {
		if name, _, _ := strings.Cut(a.text, "="); !slices.Contains(schedulerFlags, name) {
			findings = append(findings, Finding{a.file, fmt.Sprintf("the scheduler of Kubernetes %s has no flag --%s, and ends where it is given", knownVersion, name), ifNewer})
		}
	}
	return findings
}
