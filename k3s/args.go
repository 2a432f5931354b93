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
)

// schedulerArgs are the arguments that k3s takes from its configuration files:
// config.yaml first, then the drop-ins by name. Source: k3s documentation,
// "Configuration File", section "Multiple Config Files".
func schedulerArgs(server fs.FS) (args []string, findings []Finding) {
	files := []string{mainConfig}
	entries, err := fs.ReadDir(server, dropIns)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, []Finding{unreadable("/"+dropIns, err, "make it readable")}
	}
	for _, entry := range entries { // sorted by name
		if extension := path.Ext(entry.Name()); !entry.IsDir() && (extension == ".yaml" || extension == ".yml") {
			files = append(files, path.Join(dropIns, entry.Name()))
		}
	}
	for _, name := range files {
		text, err := fs.ReadFile(server, name)
		if name == mainConfig && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			findings = append(findings, unreadable("/"+name, err, "make it readable"))
			continue
		}
		if args, err = mergeArgs(args, text); err != nil {
			findings = append(findings, Finding{"/" + name, err.Error(), "k3s cannot start with it: mend it"})
		}
	}
	return args, findings
}

// mergeArgs adds what one more file says.
func mergeArgs(args []string, text []byte) ([]string, error) {
	var config map[string]any
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		return args, err
	}
	if value, ok := config[argsKey]; ok {
		args = list(value)
	}
	if value, ok := config[argsKey+"+"]; ok {
		args = append(slices.Clone(args), list(value)...)
	}
	return args, nil
}

// list reads a value that may be one item or several.
func list(value any) []string {
	items, ok := value.([]any)
	if !ok {
		items = []any{value}
	}
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = fmt.Sprint(item)
	}
	return texts
}

// configFile finds the scheduler's configuration among its arguments.
func configFile(args []string) (string, []Finding) {
	var files []string
	for _, arg := range args {
		if value, ok := strings.CutPrefix(strings.TrimLeft(arg, "-"), "config="); ok {
			files = append(files, value)
		}
	}
	snippet := "/" + Snippet
	switch {
	case len(files) == 0 && len(args) == 0:
		return "", []Finding{{snippet, "k3s is not told of a scheduler configuration", reinstall}}
	case len(files) == 0:
		return "", []Finding{{snippet, fmt.Sprintf("the scheduler gets %q and no configuration: a file after it has %s without a plus", args, argsKey), "write " + argsKey + "+ there"}}
	case len(files) > 1:
		return "", []Finding{{snippet, fmt.Sprintf("the scheduler takes one configuration and is given %s", strings.Join(files, ", ")), "keep one, with Tidegate's entry under extenders in it"}}
	case !path.IsAbs(files[0]) || path.Clean(files[0]) != files[0]:
		return "", []Finding{{snippet, fmt.Sprintf("config=%s is no plain absolute path", files[0]), "name the file by its absolute path"}}
	}
	return files[0], nil
}
