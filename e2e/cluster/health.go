package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// awaitHealthy polls until the process answers, ends, or the context does.
func (p *process) awaitHealthy(ctx context.Context, healthy func(context.Context) error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := healthy(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.failure()
		case <-ctx.Done():
			return fmt.Errorf("%s does not become healthy (%w; last answer: %v); its log %s ends with:\n%s", p.name, ctx.Err(), err, p.log, tail(p.log, 15))
		case <-tick.C:
		}
	}
}

// listens reports whether someone accepts connections there.
func listens(network, address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// answersOK reports whether a GET of the URL is answered with 200; roots may be nil for plain HTTP.
func answersOK(url string, roots *x509.CertPool) func(context.Context) error {
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
		Timeout:   time.Second,
	}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
			return fmt.Errorf("%s: %s: %s", url, answer.Status, body)
		}
		return nil
	}
}
