package emulator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server serves a Cloud on loopback and lets its time pass.
type Server struct {
	cloud *Cloud
	caPEM []byte
	cert  tls.Certificate

	imds, arm *http.Server
	// addresses of the listeners, known after Start.
	imdsAddress, armAddress string
	stop                    context.CancelFunc
	done                    sync.WaitGroup
}

// New returns a server of the subscription that cfg describes.
func New(cfg Config) (*Server, error) {
	cloud, err := NewCloud(cfg)
	if err != nil {
		return nil, err
	}
	cert, caPEM, err := newCertificates(time.Now())
	if err != nil {
		return nil, err
	}
	return &Server{cloud: cloud, caPEM: caPEM, cert: cert}, nil
}

// Start listens and returns; the server runs until ctx ends or Close. It
// refuses addresses that are not loopback, because it hands out tokens to
// everybody who asks.
func (s *Server) Start(ctx context.Context) error {
	imds, err := listen(ctx, s.cloud.cfg.IMDSAddress)
	if err != nil {
		return fmt.Errorf("serve the emulated IMDS: %w", err)
	}
	arm, err := listen(ctx, s.cloud.cfg.ARMAddress)
	if err != nil {
		return errors.Join(fmt.Errorf("serve the emulated ARM: %w", err), imds.Close())
	}
	s.imdsAddress, s.armAddress = imds.Addr().String(), arm.Addr().String()
	s.imds = newHTTPServer(s.cloud.IMDSHandler())
	s.arm = newHTTPServer(s.cloud.ARMHandler())
	s.arm.TLSConfig = &tls.Config{Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS12}

	ctx, s.stop = context.WithCancel(ctx)
	s.done.Go(func() { _ = s.imds.Serve(imds) }) // it ends by Close only
	s.done.Go(func() { _ = s.arm.ServeTLS(arm, "", "") })
	s.done.Go(func() { s.cloud.run(ctx) })
	s.done.Go(func() {
		<-ctx.Done()
		_, _ = s.imds.Close(), s.arm.Close() // nothing is lost by cutting connections
	})
	return nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%s is not a loopback address: use 127.0.0.1 and a port", address)
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", address)
}

func newHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		// Cut connections are part of the script and handshakes fail when a
		// client gives up: neither is worth a line.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
}

// Close stops the server and waits until it has ended.
func (s *Server) Close() {
	if s.stop == nil {
		return
	}
	s.stop()
	s.done.Wait()
}

// Cloud returns the subscription that is served.
func (s *Server) Cloud() *Cloud { return s.cloud }

// IMDSEndpoint is the base URL of the instance metadata service.
func (s *Server) IMDSEndpoint() string { return "http://" + s.imdsAddress }

// ARMEndpoint is the base URL of Azure Resource Manager.
func (s *Server) ARMEndpoint() string { return "https://" + s.armAddress }

// CAPEM is the certificate of the authority that clients of ARM must trust.
func (s *Server) CAPEM() []byte { return s.caPEM }

// idle is how long run sleeps when nothing is scheduled.
const idle = time.Hour

// run lets time pass: it wakes up for the next thing that will happen.
func (c *Cloud) run(ctx context.Context) {
	for {
		c.Advance(c.clock.Now())
		wait := idle
		if next, ok := c.Next(); ok {
			wait = max(0, next.Sub(c.clock.Now()))
		}
		t := c.clock.NewTimer(wait)
		select {
		case <-t.C():
		case <-c.rescheduled:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}
