package daemon

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/supervise/logs"
)

// Logs implements [api.Streamer]: the lines of one log, or of all instances of a
// service, those of each in order.
func (a *agent) Logs(ctx context.Context, q api.LogQuery, line func(api.LogLine) error) error {
	files, err := a.logsOf(q.Ref)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var one sync.Mutex // guards line and failed
	var failed error
	var all sync.WaitGroup
	for _, f := range files {
		read := func() {
			err := logs.Read(ctx, logs.Options{File: f.path, Tail: q.Tail, Since: q.Since, Follow: q.Follow}, func(l logs.Line) error {
				one.Lock()
				defer one.Unlock()
				return line(api.LogLine{At: l.At, Service: f.service, Instance: f.instance, Stream: l.Stream, Text: strings.ToValidUTF8(string(l.Text), "\ufffd")})
			})
			if err != nil && ctx.Err() == nil {
				one.Lock()
				failed = err
				one.Unlock()
				cancel()
			}
		}
		if q.Follow {
			all.Go(read)
		} else {
			read()
		}
	}
	all.Wait()
	return failed
}

// logFile is the log of one instance.
type logFile struct{ service, instance, path string }

// logsOf returns the files that ref means; of instances that are gone too.
func (a *agent) logsOf(ref backstay.Ref) (files []logFile, err error) {
	service, pattern := ref.Name(), "*.log"
	switch ref.Kind() {
	case "role":
		service, pattern = roles, ref.Name()+".log"
	case "instance":
		service, pattern = "*", ref.Name()+".log"
	}
	paths, err := filepath.Glob(filepath.Join(a.Dirs.Log, service, pattern))
	if err != nil {
		return nil, err //nolint:wrapcheck // cannot be: names are labels
	}
	slices.Sort(paths)
	live := map[string]bool{}
	for _, i := range a.supervise.Instances() {
		live[i.ID] = true
	}
	for _, p := range paths {
		id := strings.TrimSuffix(filepath.Base(p), ".log")
		if ref.Kind() == "service" && !live[id] {
			continue
		}
		files = append(files, logFile{filepath.Base(filepath.Dir(p)), id, p})
	}
	if len(files) == 0 {
		return nil, &backstay.Problem{Code: "not_found", What: "there is no log of " + string(ref), Where: string(ref), Do: "see backstay status for what runs, and " + a.Dirs.Log + " for logs of what is gone"}
	}
	return files, nil
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
