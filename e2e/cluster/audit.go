package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"
)

const auditPolicy = "audit-policy.yaml"

// writeAuditPolicy records who asked for what and how it ended, of the requests of Options.AuditGroups only.
func (c *Cluster) writeAuditPolicy() error {
	policy := auditv1.Policy{
		TypeMeta: metav1.TypeMeta{APIVersion: auditv1.SchemeGroupVersion.String(), Kind: "Policy"},
		// A watch counts once it has begun; it may never end.
		OmitStages: []auditv1.Stage{auditv1.StageRequestReceived},
		Rules:      []auditv1.PolicyRule{{Level: auditv1.LevelNone}},
	}
	if groups := c.options.AuditGroups; len(groups) > 0 {
		policy.Rules = append([]auditv1.PolicyRule{{Level: auditv1.LevelMetadata, UserGroups: groups}}, policy.Rules...)
	}
	text, err := yaml.Marshal(policy)
	if err != nil {
		return fmt.Errorf("encode the audit policy: %w", err)
	}
	return os.WriteFile(c.file(auditPolicy), text, 0o600)
}

func (c *Cluster) auditLog(server int) string { return c.file(fmt.Sprintf("audit-%d.log", server)) }

// Audit returns the requests of Options.AuditGroups that the API servers have answered so far.
func (c *Cluster) Audit() ([]auditv1.Event, error) {
	var events []auditv1.Event
	for server := range c.options.APIServers {
		text, err := os.ReadFile(c.auditLog(server))
		if errors.Is(err, os.ErrNotExist) {
			continue // nobody asked this server yet
		}
		if err != nil {
			return nil, err
		}
		// A line that is being written has no end yet.
		decoder := json.NewDecoder(bytes.NewReader(text[:bytes.LastIndexByte(text, '\n')+1]))
		for {
			var event auditv1.Event
			if err := decoder.Decode(&event); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("%s: %w", c.auditLog(server), err)
			}
			events = append(events, event)
		}
	}
	return events, nil
}
