package health

import (
	"bytes"
	"context"
	"errors"

	"github.com/backstay/backstay"
)

// askExec runs a command; status 0 passes. What is shown is how it ended and
// the last line it wrote.
func askExec(ctx context.Context, p backstay.Probe, target Target, run Runner) Result {
	if run == nil {
		return Result{Unknown: true, Output: "exec: nobody here runs commands"}
	}
	exit, output, err := run.Run(ctx, target.Instance, target.Name, p.Exec)
	if err != nil {
		return Result{Unknown: true, Output: "exec: " + err.Error()}
	}
	said := exit.String()
	if !exit.OK() && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		said = "no answer in " + p.Timeout.String() // it was killed for that
	}
	if last := lastLine(output); last != "" {
		said += ": " + last
	}
	return Result{Good: exit.OK(), Output: said}
}

func lastLine(output []byte) string {
	output = bytes.TrimSpace(output)
	return Line(string(output[bytes.LastIndexByte(output, '\n')+1:]))
}
