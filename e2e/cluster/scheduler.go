package cluster

import (
	"errors"
	"fmt"
	"net/url"

	"sigs.k8s.io/yaml"
)

// paths are where this host has what a KubeSchedulerConfiguration names.
type paths struct {
	kubeconfig            string
	caFile                string
	clientCert, clientKey string
}

// relocate adapts a KubeSchedulerConfiguration that was written for another host. It changes these values and nothing
// else: clientConnection.kubeconfig, and, if an address (host:port) is given, every extender's urlPrefix (host and
// port only) and tlsConfig's caFile, and certFile and keyFile if it has them.
func relocate(text []byte, host paths, extenderAddress string) ([]byte, error) {
	var config map[string]any
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		return nil, err
	}
	connection, ok := config["clientConnection"].(map[string]any)
	if !ok {
		return nil, errors.New("it has no clientConnection, without which a scheduler that is given a file finds no cluster")
	}
	connection["kubeconfig"] = host.kubeconfig

	extenders, _ := config["extenders"].([]any)
	if extenderAddress == "" {
		extenders = nil
	}
	for i, entry := range extenders {
		extender, ok := entry.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("extenders[%d] is no object", i)
		}
		prefix, _ := extender["urlPrefix"].(string)
		target, err := url.Parse(prefix)
		if err != nil || target.Host == "" {
			return nil, fmt.Errorf("extenders[%d].urlPrefix %q is no absolute URL", i, prefix)
		}
		target.Host = extenderAddress
		extender["urlPrefix"] = target.String()
		if tls, ok := extender["tlsConfig"].(map[string]any); ok {
			tls["caFile"] = host.caFile
			if _, ok := tls["certFile"]; ok {
				tls["certFile"], tls["keyFile"] = host.clientCert, host.clientKey
			}
		}
	}
	return yaml.Marshal(config)
}
