package k3s

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"
)

// files reads what a configuration of the scheduler names.
type files struct {
	server fs.FS
	// dataDir is where k3s keeps its data.
	dataDir string
	// configuration is the absolute path of the file that names the others.
	configuration string
	// authority is that of the cluster's extender, PEM encoded; nil if it is not
	// known.
	authority []byte
}

// read returns the content of a file that a field names, which may not be
// empty.
func (f files) read(field, name, fix string) ([]byte, *Finding) {
	if name == "" {
		return nil, &Finding{f.configuration, field + " is missing", fix}
	}
	if f.dataDir != defaultDataDir && strings.HasPrefix(path.Clean(name), defaultDataDir+"/") {
		return nil, &Finding{name, fmt.Sprintf("%s of %s: it is old, because k3s keeps its data in %s", field, f.configuration, f.dataDir),
			"name the file there, as tidegate k3s install does"}
	}
	text, err := readNamed(f.server, name)
	if err == nil && len(text) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		found := unreadable(name, err, fix)
		found.Problem = fmt.Sprintf("%s of %s: %s", field, f.configuration, found.Problem)
		return nil, &found
	}
	return text, nil
}

// checkKubeconfig judges by which credentials the scheduler would reach the API
// server, in client-go's own way.
func (f files) checkKubeconfig(name string) *Finding {
	const field = "clientConnection.kubeconfig"
	fix := "with a configuration the scheduler ignores --kubeconfig: name the one that k3s writes at its first start, " + kubeconfig(f.dataDir)
	text, found := f.read(field, name, fix)
	if found != nil {
		return found
	}
	refused := func(err error) *Finding {
		return &Finding{name, fmt.Sprintf("%s of %s: %v", field, f.configuration, err), fix}
	}
	config, err := clientcmd.Load(text)
	if err != nil {
		return refused(err)
	}
	// Its files are those of the server that is judged.
	embed := func(field string, file *string, data *[]byte) {
		if *file == "" || found != nil {
			return
		}
		if !path.IsAbs(*file) {
			*file = path.Join(path.Dir(name), *file)
		}
		*data, found = f.read(field, *file, fix)
		*file = ""
	}
	if current := config.Contexts[config.CurrentContext]; current != nil {
		if cluster := config.Clusters[current.Cluster]; cluster != nil {
			embed("certificate-authority in "+name, &cluster.CertificateAuthority, &cluster.CertificateAuthorityData)
		}
		if user := config.AuthInfos[current.AuthInfo]; user != nil {
			embed("client-certificate in "+name, &user.ClientCertificate, &user.ClientCertificateData)
			embed("client-key in "+name, &user.ClientKey, &user.ClientKeyData)
			token := []byte(user.Token)
			embed("tokenFile in "+name, &user.TokenFile, &token)
			user.Token = string(token)
		}
	}
	if found != nil {
		return found
	}
	client, err := clientcmd.NewDefaultClientConfig(*config, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err == nil {
		_, err = rest.TLSConfigFor(client)
	}
	if err != nil {
		return refused(err)
	}
	return nil
}

// checkTLS judges the files by which the scheduler would reach an extender: it
// does not start with one that it cannot read.
func (f files) checkTLS(path string, c *schedulerv1.ExtenderTLSConfig) *Finding {
	const fix = "name a file that is there, or leave the field out"
	given := rest.TLSClientConfig{Insecure: c.Insecure, ServerName: c.ServerName, CertData: c.CertData, KeyData: c.KeyData, CAData: c.CAData}
	for _, named := range []struct {
		field, file string
		data        *[]byte
	}{{"caFile", c.CAFile, &given.CAData}, {"certFile", c.CertFile, &given.CertData}, {"keyFile", c.KeyFile, &given.KeyData}} {
		if named.file == "" {
			continue
		}
		text, found := f.read(path+"."+named.field, named.file, fix)
		if found != nil {
			return found
		}
		*named.data = text
	}
	if (len(given.CertData) == 0) != (len(given.KeyData) == 0) {
		return &Finding{f.configuration, path + " has one of certFile and keyFile", "name both or none"}
	}
	if _, err := rest.TLSConfigFor(&rest.Config{TLSClientConfig: given}); err != nil {
		return &Finding{f.configuration, fmt.Sprintf("%s: %v", path, err), "the scheduler cannot start with it, nor can k3s: mend it"}
	}
	return nil
}
