package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/apitest"
	"github.com/backstay/backstay/api/client"
	"github.com/backstay/backstay/internal/nettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ann = api.Actor{UID: 0, Name: "ann"}

func to(socket string) *client.Client { return client.New(client.Options{Socket: socket}) }

func code(err error) string {
	if p, ok := errors.AsType[*backstay.Problem](err); ok {
		return p.Code
	}
	return ""
}

// Every call reaches the backend as what it is, and names who asked.
func TestCallsArrive(t *testing.T) {
	b := apitest.New()
	c, ctx := to(apitest.Serve(t, b, ann)), t.Context()
	five := 5
	for what, call := range map[string]func() error{
		"scale shop to 5 by ann":            func() error { _, err := c.Scale(ctx, "shop", &five); return err },
		"rollback to 1 shop by ann":         func() error { _, err := c.Rollback(ctx, "shop", 1); return err },
		"pause shop by ann":                 func() error { _, err := c.OnDeploy(ctx, "pause", "shop"); return err },
		"drain instance/shop-11aa11 by ann": func() error { _, err := c.Do(ctx, "drain", "instance/shop-11aa11"); return err },
		"restart service/db by ann":         func() error { _, err := c.Do(ctx, "restart", "service/db"); return err },
		"apply a.yaml by ann": func() error {
			_, err := c.Apply(ctx, api.ConfigAsk{Name: "a.yaml", Text: []byte("schema: 1"), IfMatch: "3f9a1c22"})
			return err
		},
		"scale shop to what the file says by ann":      func() error { _, err := c.Scale(ctx, "shop", nil); return err },
		"deploy db {Version:v2 Reset:false Again:true": func() error { _, err := c.Deploy(ctx, "db", api.DeployAsk{Version: "v2", Again: true}); return err },
	} {
		before := len(b.Asked())
		if err := call(); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if asked := b.Asked(); len(asked) != before+1 || !strings.HasPrefix(asked[before], what) {
			t.Errorf("asked %q, want %q", asked[before:], what)
		}
	}
}

// What only reads comes back as it was.
func TestReadsComeBack(t *testing.T) {
	c, ctx := to(apitest.Serve(t, apitest.New(), ann)), t.Context()
	st, err := c.Status(ctx)
	if err != nil || len(st.Services) != 2 || st.Services[1].Instances[0].ID != "shop-11aa11" || !st.At.Equal(apitest.Now) {
		t.Errorf("status: %+v, %v", st, err)
	}
	if p, err := c.Why(ctx, "shop"); err != nil || p.Ref != "service/shop" {
		t.Errorf("why: %+v, %v", p, err)
	}
	if v, err := c.Version(ctx); err != nil || v.API != "v1" {
		t.Errorf("version: %+v, %v", v, err)
	}
	if r, err := c.Releases(ctx, "shop"); err != nil || len(r) != 2 {
		t.Errorf("releases: %+v, %v", r, err)
	}
	if h, err := c.History(ctx, "db"); err != nil || h == nil || len(h) != 0 {
		t.Errorf("history: %+v, %v", h, err)
	}
}

// A refusal arrives whole, with the mistakes that it is made of.
func TestProblemsComeBack(t *testing.T) {
	b := apitest.New()
	b.Mistake = func(name string, _ []byte) error {
		return &api.Refusal{
			Problem:  backstay.Problem{Code: "invalid_file", What: "1 mistake", Where: name, Do: "change it"},
			Mistakes: []backstay.Problem{{Code: "no_unit", What: "30 has no unit", Where: name + ":3:1", Do: "try 30s"}}, Text: "a.yaml:3:1: 30 has no unit",
		}
	}
	c, ctx := to(apitest.Serve(t, b, ann)), t.Context()
	_, err := c.Plan(ctx, "a.yaml", []byte("x"))
	var r *api.Refusal
	if !errors.As(err, &r) || r.Code != "invalid_file" || len(r.Mistakes) != 1 || r.Error() != "a.yaml:3:1: 30 has no unit" {
		t.Errorf("%#v", err)
	}
	if err := c.Validate(ctx, "a.yaml", []byte("x")); code(err) != "invalid_file" {
		t.Error(err)
	}
	if _, err := c.Do(ctx, "stop", "service/nope"); code(err) != "not_found" {
		t.Error(err)
	}
}

// A command that is asked while the agent restarts waits for it, and says so once.
func TestWaitsForTheAgent(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	var told atomic.Int32
	back := make(chan struct{})
	c := client.New(client.Options{Socket: socket, Wait: time.Minute, Waiting: func() {
		if told.Add(1) == 1 {
			close(back)
		}
	}})
	go func() {
		<-back // only once the client has said that it waits
		apitest.ServeAt(t, apitest.New(), ann, socket)
	}()
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	if told.Load() != 1 {
		t.Errorf("told %d times", told.Load())
	}
}

// Nobody answers: the problem says where was looked and what to do.
func TestNoAgent(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	c := client.New(client.Options{Socket: socket, Wait: time.Nanosecond})
	_, err := c.Status(t.Context())
	var p *backstay.Problem
	if !errors.As(err, &p) || p.Code != "no_agent" || p.Where != socket || p.Do == "" {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := to(socket).Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A socket that the keeper holds takes connections while no agent does: who asks is
// told that it waits, and soon why, and where to look; nothing of what it asked is
// done by an agent that comes later.
func TestNobodyAcceptsBehindTheSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	told := 0
	c := client.New(client.Options{Socket: socket, Log: "/var/log/agent.log", Wait: 400 * time.Millisecond, Waiting: func() { told++ }})
	guard, stop := context.WithTimeout(t.Context(), time.Minute) // against a hang only
	defer stop()
	for what, ask := range map[string]func() error{
		"status": func() error { _, err := c.Status(guard); return err },
		"deploy": func() error { _, err := c.Deploy(guard, "shop", api.DeployAsk{}); return err },
		"events": func() error {
			return c.Events(guard, api.EventQuery{Follow: true}, func(backstay.Event) error { return nil })
		},
	} {
		told = 0
		err := ask()
		var p *backstay.Problem
		if !errors.As(err, &p) || p.Code != "no_agent" || !strings.Contains(p.Do, "/var/log/agent.log") || told != 1 {
			t.Errorf("%s: %v, told %d times that it waits", what, err, told)
		}
	}
	asked := 0
	for range 3 {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(conn)
		if asked++; strings.Contains(string(text), "/v1") {
			t.Errorf("left behind in the queue: %q", text)
		}
		_ = conn.Close()
	}
}

// A socket that may not be opened is a matter of rights, and nothing to wait for.
func TestSocketOfOthers(t *testing.T) {
	socket := apitest.Serve(t, apitest.New(), ann)
	if err := os.Chmod(socket, 0); err != nil {
		t.Fatal(err)
	}
	nettest.Unprivileged(t) // root may open every socket
	if _, err := to(socket).Status(t.Context()); code(err) != "denied" {
		t.Errorf("%v", err)
	}
}

// stub serves raw answers, one for each connection.
func stub(t *testing.T, answers ...string) (socket string, asked *atomic.Int32) {
	t.Helper()
	socket, asked = filepath.Join(t.TempDir(), "api.sock"), &atomic.Int32{}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(asked.Add(1)) - 1
			_, _ = c.Read(make([]byte, 64<<10)) // the greeting
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			_, _ = c.Read(make([]byte, 64<<10))
			_, _ = io.WriteString(c, answers[min(n, len(answers)-1)])
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return socket, asked
}

const version = "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"api\": \"v1\"}\n"

// What may be done twice is asked again when the agent dies in the middle of its
// answer; what may not is sent once, and the loss is said.
func TestAgentDiesInTheMiddle(t *testing.T) {
	half := "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"api\""
	socket, asked := stub(t, "", half, version)
	if v, err := to(socket).Version(t.Context()); err != nil || v.API != "v1" || asked.Load() != 3 {
		t.Errorf("%+v, %v after %d", v, err, asked.Load())
	}
	socket, asked = stub(t, half, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	if _, err := to(socket).Do(t.Context(), "drain", "service/shop"); err != nil || asked.Load() != 2 {
		t.Errorf("drain: %v after %d", err, asked.Load())
	}
	socket, asked = stub(t, half)
	if _, err := to(socket).Deploy(t.Context(), "shop", api.DeployAsk{}); code(err) != "agent_gone" || asked.Load() != 1 {
		t.Errorf("%v after %d", err, asked.Load())
	}
}

// What answers but is no agent is told, not believed.
func TestNoAgentAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"nginx":    "HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>",
		"no json":  "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
		"no stage": "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}",
	} {
		socket, _ := stub(t, answer)
		if _, err := to(socket).Status(t.Context()); code(err) != "bad_answer" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An agent that says it is starting is waited for.
func TestStartingAgent(t *testing.T) {
	body := `{"code":"starting","what":"it starts","do":"wait"}`
	socket, asked := stub(t, fmt.Sprintf("HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%s", len(body), body), version)
	if _, err := to(socket).Version(t.Context()); err != nil || asked.Load() != 2 {
		t.Errorf("%v after %d", err, asked.Load())
	}
}
