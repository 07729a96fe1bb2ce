package health

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/backstay/backstay"
)

// Target is who is asked.
type Target struct {
	Address  string // IP; the probe's own address wins
	Port     uint16 // the probe's port, looked up by name where it has one
	Instance string // for exec: whose surroundings the command runs in
	Name     string // for exec: which probe of the instance: liveness
}

// Runner runs the command of an exec probe in the surroundings of an instance.
// [Ask] calls it from its own goroutine and waits. An error says that the
// command could not be run for reasons that are ours: the answer is unknown.
type Runner interface {
	Run(ctx context.Context, instance, name string, argv []string) (exit backstay.Exit, output []byte, err error)
}

// Ask puts the question of p to target once and returns within p.Timeout, or
// when ctx ends. It never asks exec; see [AskWith].
func Ask(ctx context.Context, p backstay.Probe, target Target) Result {
	return AskWith(ctx, p, target, nil)
}

// AskWith is [Ask] that runs the commands of exec probes by run.
func AskWith(ctx context.Context, p backstay.Probe, target Target, run Runner) Result {
	if p.Timeout <= 0 {
		p.Timeout = backstay.Duration(time.Second)
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout.Std())
	defer cancel()
	r := ask(ctx, p, target, run)
	r.Output, r.At = Line(r.Output), time.Now()
	if !r.Good && errors.Is(ctx.Err(), context.Canceled) {
		r.Unknown = true // whoever asked has gone
	}
	return r
}

func ask(ctx context.Context, p backstay.Probe, target Target, run Runner) Result {
	switch p.Kind() {
	case "http":
		return askHTTP(ctx, p, target)
	case "tcp":
		return askTCP(ctx, p, target)
	case "redis":
		return askRedis(ctx, p, target)
	case "postgres":
		return askPostgres(ctx, p, target)
	case "exec":
		return askExec(ctx, p, target, run)
	default:
		return Result{Unknown: true, Output: "the probe asks no question, or several"}
	}
}

func askTCP(ctx context.Context, p backstay.Probe, target Target) Result {
	conn, err := dial(ctx, p, target)
	if err != nil {
		return bad(told(p, "connect", err))
	}
	_ = conn.Close()
	return good("connected")
}

// dial connects and sets the deadline of ctx on the connection: each step of
// the conversation ends by it.
func dial(ctx context.Context, p backstay.Probe, target Target) (net.Conn, error) {
	var d net.Dialer
	d.KeepAlive = -1 // it lives for one question
	conn, err := d.DialContext(ctx, "tcp", address(p, target))
	if err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if ok {
		err = conn.SetDeadline(deadline)
	}
	return conn, err
}

// closeOnEnd makes whatever waits on conn return when ctx ends before its
// deadline: the agent stops.
func closeOnEnd(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

func address(p backstay.Probe, target Target) string {
	host := target.Address
	if p.Address != "" {
		host = p.Address
	}
	return net.JoinHostPort(host, strconv.Itoa(int(target.Port)))
}

// told puts err into the words of the night shift: step: what the kernel said,
// without the addresses, which [Describe] has.
func told(p backstay.Probe, step string, err error) string {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return step + ": no answer in " + p.Timeout.String()
	}
	if sys, ok := errors.AsType[*os.SyscallError](err); ok {
		return step + ": " + sys.Err.Error()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return step + ": " + op.Err.Error()
	}
	return step + ": " + err.Error()
}

// Describe says what p asks of target: http 127.0.0.1:20001/healthz.
func Describe(p backstay.Probe, target Target) string {
	switch kind := p.Kind(); kind {
	case "http":
		return "http " + address(p, target) + Line(p.HTTP)
	case "exec":
		return "exec " + Line(p.Exec[0])
	case "":
		return "none"
	default:
		return kind + " " + address(p, target)
	}
}
