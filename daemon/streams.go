package daemon

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/supervise/logs"
)

// Logs implements [api.Streamer]: the lines of one log, or of all instances of a
// service, the oldest first. Instances that come while it is followed are
// followed too. Where none lives, those that are gone have the last word.
func (a *agent) Logs(ctx context.Context, q api.LogQuery, line func(api.LogLine) error) error {
	return readLogs(ctx, a.Dirs, q, a.lives, line)
}

// lives reports whether an instance is there, crashed or not.
func (a *agent) lives(id string) bool {
	return slices.ContainsFunc(a.supervise.Instances(), func(i backstay.Instance) bool { return i.ID == id && i.State != backstay.Stopped })
}

// ReadLogs is what the agent answers to q, for those who have no agent to ask and
// may read its files. Who lives is not known then: of a service all logs are read
// that are kept.
func ReadLogs(ctx context.Context, d Dirs, q api.LogQuery, line func(api.LogLine) error) error {
	return readLogs(ctx, d, q, func(string) bool { return false }, line)
}

func readLogs(ctx context.Context, d Dirs, q api.LogQuery, lives func(id string) bool, line func(api.LogLine) error) error {
	if len(d.logsOf(q.Ref, lives)) == 0 {
		return d.noLog(q.Ref)
	}
	o := logs.Options{Tail: q.Tail, Since: q.Since, Follow: q.Follow}
	return logs.Merge(ctx, func() []string { return d.logsOf(q.Ref, lives) }, o, func(file string, l logs.Line) error { //nolint:wrapcheck // it says which log
		service, instance := whose(file)
		return line(api.LogLine{At: l.At, Service: service, Instance: instance, Stream: l.Stream, Text: strings.ToValidUTF8(string(l.Text), "\ufffd")})
	})
}

// keeperRole is the role that is nobody's child here: what it prints goes to a
// file beside its socket, or to what has started it.
const keeperRole = "role/keeper"

// whose returns what has printed to a log.
func whose(file string) (service, instance string) {
	service = filepath.Base(filepath.Dir(file))
	if instance = strings.TrimSuffix(filepath.Base(file), logSuffix); instance == service { // keeper/keeper.log
		service = roles
	}
	return service, instance
}

const logSuffix = ".log"

// logsOf returns the logs that ref means: of a service those of its instances that
// live, or else all that are kept; of an instance its own, though it may be gone.
func (d Dirs) logsOf(ref backstay.Ref, lives func(id string) bool) []string {
	service, pattern := ref.Name(), "*"+logSuffix
	switch {
	case ref == keeperRole:
		return present(filepath.Join(d.Keeper(), "keeper"+logSuffix))
	case ref.Kind() == "role":
		return present(filepath.Join(d.Log, roles, ref.Name()+logSuffix))
	case ref.Kind() == "instance":
		service, pattern = "*", ref.Name()+logSuffix
	}
	files := present(filepath.Join(d.Log, service, pattern))
	if ref.Kind() != "service" {
		return files
	}
	dead := func(file string) bool { _, instance := whose(file); return !lives(instance) }
	if slices.ContainsFunc(files, func(file string) bool { return !dead(file) }) {
		files = slices.DeleteFunc(files, dead)
	}
	return files
}

// present returns the files that pattern, which is made of labels, fits.
func present(pattern string) []string {
	files, _ := filepath.Glob(pattern)
	return files
}

// noLog says that there is nothing to read, and where else to look.
func (d Dirs) noLog(ref backstay.Ref) error {
	p := &backstay.Problem{
		Code: "not_found", What: "there is no log of " + string(ref), Where: string(ref),
		Do: "see backstay status for what runs, and " + d.Log + " for logs of what is gone",
	}
	if ref == keeperRole {
		p.Why, p.Do = "this keeper prints to what has started it", "see the journal of its unit, as in journalctl -u backstay"
	}
	return p
}

// lastLinesWithin bounds looking for the last words of what has died.
const lastLinesWithin = 2 * time.Second

// lastLines implements supervise.Options.LastLines.
func lastLines(file string, n int) (lines []string) {
	ctx, cancel := context.WithTimeout(context.Background(), lastLinesWithin)
	defer cancel()
	_ = logs.Read(ctx, logs.Options{File: file, Tail: n}, func(l logs.Line) error {
		lines = append(lines, strings.ToValidUTF8(string(l.Text), "\ufffd"))
		return nil
	})
	return lines
}
