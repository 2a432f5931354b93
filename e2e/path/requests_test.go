package path

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// What no Kubernetes component would send is refused with a sentence, and the
// process lives on.
func TestBadRequests(t *testing.T) {
	r := sharedRig(t)
	t.Parallel()
	p := tidegate(t)
	webhook, extender := httpsClient(t, r, r.WebhookName()), httpsClient(t, r, rig.ExtenderName, schedulerCertificate(t, r))
	const json = "application/json"
	requests := map[string]struct {
		method, media, body string
		code                int
		sentence            string
	}{
		"no JSON":            {http.MethodPost, json, `{"kind":`, http.StatusBadRequest, "the body is not an"},
		"JSON of a list":     {http.MethodPost, json, `[1, 2]`, http.StatusBadRequest, "the body is not an"},
		"JSON without sense": {http.MethodPost, json, `{}`, http.StatusBadRequest, "send"},
		"no body":            {http.MethodPost, json, "", http.StatusBadRequest, "the body is not an"},
		"a GET":              {http.MethodGet, json, "", http.StatusMethodNotAllowed, "send a POST request"},
		"a DELETE":           {http.MethodDelete, json, "{}", http.StatusMethodNotAllowed, "send a POST request"},
		"plain text":         {http.MethodPost, "text/plain", "{}", http.StatusUnsupportedMediaType, "send application/json"},
		"no content type":    {http.MethodPost, "", "{}", http.StatusUnsupportedMediaType, "send application/json"},
		"10 MB":              {http.MethodPost, json, strings.Repeat(" ", 10<<20), http.StatusRequestEntityTooLarge, "send a smaller object"},
	}
	for _, path := range []string{
		"/mutate-pods", "/mutate-pods/by-namespace", "/validate-jobs", "/validate-jobs/by-namespace",
		"/extender/filter", "/extender/prioritize",
	} {
		client, address := webhook, r.WebhookAddress()
		if strings.HasPrefix(path, "/extender") {
			client, address = extender, r.ExtenderAddress()
		}
		for name, test := range requests {
			t.Run(strings.ReplaceAll(path[1:], "/", " ")+", "+name, func(t *testing.T) {
				request, err := http.NewRequestWithContext(t.Context(), test.method, "https://"+address+path, strings.NewReader(test.body))
				if err != nil {
					t.Fatal(err)
				}
				if test.media != "" {
					request.Header.Set("Content-Type", test.media)
				}
				answer, err := client.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				text, err := io.ReadAll(answer.Body)
				if err != nil {
					t.Fatal(err)
				}
				if answer.StatusCode != test.code || !strings.Contains(string(text), test.sentence) {
					t.Errorf("answer %d %q, want %d and %q", answer.StatusCode, text, test.code, test.sentence)
				}
			})
		}
	}
	ready(t, p)
	if strings.Contains(p.Log()+p.Webhook().Log(), "panic") {
		t.Errorf("a handler panicked\n%s", logs())
	}
}
