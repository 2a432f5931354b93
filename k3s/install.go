package k3s

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// backup is appended to the name of a file whose content is replaced. k3s reads
// no file of that name.
const backup = ".old"

// Install writes the files to the server whose root folder is given, with the
// extender's authority as PEM text, and returns which of them it changed. What
// it replaces stays beside the new file under a name with ".old" behind it.
//
// With a scheduler's configuration of the user's own it writes the authority only,
// which that is to name. It writes nothing if Check would have a finding afterwards. The file that
// makes k3s read the others comes last, so that k3s can start whenever Install
// is interrupted.
func Install(root string, ca []byte, now time.Time) (changed []string, err error) {
	server := os.DirFS(root)
	files := desired(server, ca)
	if findings := CheckAgainst(overlay{server, files}, ca, now); len(findings) > 0 {
		errs := []error{errors.New("nothing is written, because k3s could not start, or its scheduler not reach Tidegate, with the files")}
		for _, f := range findings {
			errs = append(errs, errors.New(f.String()))
		}
		return nil, errors.Join(errs...)
	}
	for _, f := range files {
		old, err := fs.ReadFile(server, f.path)
		if err == nil && bytes.Equal(old, f.content) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return changed, fmt.Errorf("read what is there: %w", err)
		}
		target := filepath.Join(root, f.path)
		if err == nil {
			if err := replace(target+backup, old); err != nil {
				return changed, err
			}
		}
		if err := replace(target, f.content); err != nil {
			return changed, err
		}
		changed = append(changed, "/"+f.path)
	}
	return changed, nil
}

// replace writes a file so that it is whole whenever it is read. It holds
// nothing secret.
func replace(name string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // unless it has its new name
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Chmod(0o644), temporary.Sync(), temporary.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(temporary.Name(), name)
}

// overlay is a server on which the files were written already.
type overlay struct {
	fs.FS
	files []file
}

func (o overlay) ReadFile(name string) ([]byte, error) {
	if i := o.index(name); i >= 0 {
		return o.files[i].content, nil
	}
	return fs.ReadFile(o.FS, name)
}

// ReadDir lists the folder with the files that are to be in it, sorted.
func (o overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(o.FS, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, f := range o.files {
		base := path.Base(f.path)
		there := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == base })
		if path.Dir(f.path) == name && !there {
			entries = append(entries, newFile{name: base})
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

func (o overlay) index(name string) int {
	return slices.IndexFunc(o.files, func(f file) bool { return f.path == name })
}

// newFile is the entry of a file that is to be written.
type newFile struct {
	fs.DirEntry
	name string
}

func (f newFile) Name() string { return f.name }
func (f newFile) IsDir() bool  { return false }
