package httpguard

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipe is a listener that accepts one connection.
type pipe struct{ conns chan net.Conn }

func (p pipe) Accept() (net.Conn, error) {
	conn, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipe) Close() error   { return nil }
func (p pipe) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// A sender that never ends its body is answered and let go.
func TestSlowSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, conn := net.Pipe()
		listener := pipe{conns: make(chan net.Conn, 1)}
		listener.conns <- conn
		server := &http.Server{Handler: JSON(func(http.ResponseWriter, *http.Request, []byte) error {
			t.Error("the handler was called without a whole body")
			return nil
		})}
		served := make(chan error)
		go func() { served <- server.Serve(listener) }()

		start := time.Now()
		go func() {
			_, _ = io.WriteString(client, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
		}()
		answer, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		if took := time.Since(start); took != ReadTime {
			t.Errorf("answered after %s, want %s", took, ReadTime)
		}
		if answer.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "could not be read") {
			t.Errorf("answer %s %q, want a 400 that says why", answer.Status, text)
		}
		close(listener.conns)
		_ = client.Close()
		<-served
	})
}
