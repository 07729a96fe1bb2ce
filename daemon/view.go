package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
)

// Recent implements [api.Viewer].
func (a *agent) Recent(_ context.Context, ref backstay.Ref, limit int) ([]backstay.Event, error) {
	all, err := a.bus.Last(recentLook)
	if err != nil {
		return nil, err //nolint:wrapcheck // it tells its story
	}
	all = slices.DeleteFunc(all, func(e backstay.Event) bool { return !about(e.Ref, ref) })
	slices.Reverse(all)
	return all[:min(len(all), limit)], nil
}

// recentLook is how many of the newest events are looked through.
const recentLook = 4000

// about reports whether an event about ref concerns what want points at.
func about(ref, want backstay.Ref) bool {
	return want == "" || ref == want || strings.HasPrefix(string(ref), string(want)+"/") ||
		want.Kind() == "instance" && strings.HasSuffix(string(ref), "/"+want.Name())
}

// Events implements [api.Streamer].
func (a *agent) Events(ctx context.Context, q api.EventQuery, event func(backstay.Event) error) error {
	past, err := a.bus.Since(q.After)
	if err != nil {
		return &backstay.Problem{Code: "bad_event_id", What: err.Error(), Where: "after", Do: "use the id of an event, as backstay events -o json shows it"}
	}
	last := q.After
	if n := len(past); n > 0 {
		last = past[n-1].ID
	}
	past = slices.DeleteFunc(past, func(e backstay.Event) bool { return e.At.Before(q.Since) || !about(e.Ref, q.Ref) })
	if q.Tail > 0 {
		past = past[max(0, len(past)-q.Tail):]
	}
	for _, e := range past {
		if err := event(e); err != nil {
			return err
		}
	}
	if !q.Follow {
		return nil
	}
	return a.followEvents(ctx, last, q.Ref, event)
}

func (a *agent) followEvents(ctx context.Context, after string, ref backstay.Ref, event func(backstay.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := a.bus.Watch(ctx, after)
	if err != nil {
		return err //nolint:wrapcheck // it tells its story
	}
	for e := range events {
		if !about(e.Ref, ref) {
			continue
		}
		if err := event(e); err != nil {
			return err
		}
	}
	return ctx.Err() //nolint:wrapcheck // who asked has gone
}

// Diff implements [api.Viewer].
func (a *agent) Diff(_ context.Context, from, to string) ([]api.Change, error) {
	if strings.Contains(from, "@") || strings.Contains(to, "@") {
		return a.diffReleases(from, to)
	}
	x, err := a.configCalled(from)
	if err != nil {
		return nil, err
	}
	y, err := a.configCalled(to)
	if err != nil {
		return nil, err
	}
	out := []api.Change{}
	for _, c := range config.Diff(x, y) {
		out = append(out, changeOf(c))
	}
	return out, nil
}

// configCalled returns a file by digest or its beginning, or running, last_good
// or file.
func (a *agent) configCalled(name string) (*config.File, error) {
	now := a.now.Load()
	switch name {
	case "running", "last_good":
		if now != nil {
			return now.file, nil
		}
	case "file":
		f, err := config.Load(a.File)
		if err != nil {
			return nil, refusalOf(err)
		}
		return f, nil
	}
	all, err := a.configs.all()
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		if name == "" || !strings.HasPrefix(k.Digest, name) {
			continue
		}
		text, err := a.configs.text(k.Digest)
		if err != nil {
			return nil, err
		}
		f, err := config.ParseIn(nil, k.Name, text)
		if err != nil {
			return nil, refusalOf(err)
		}
		return f, nil
	}
	return nil, &backstay.Problem{
		Code: "not_found", What: "there is no kept file " + shown(name), Where: shown(name),
		Do: "use running, file, or the beginning of a digest that GET /v1/configs lists, or two releases as in shop@13 shop@14",
	}
}

// shown is text that somebody has sent, without what drives a terminal.
func shown(text string) string {
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// diffReleases compares two releases by what they are made of.
func (a *agent) diffReleases(from, to string) ([]api.Change, error) {
	x, ok := a.deploy.Release(from)
	y, also := a.deploy.Release(to)
	if !ok || !also {
		missing := from
		if ok {
			missing = to
		}
		return nil, &backstay.Problem{Code: "release_unknown", What: "there is no release " + shown(missing), Where: shown(missing), Do: "see backstay releases SERVICE for those that are kept"}
	}
	a1, err := flat(x)
	if err != nil {
		return nil, err
	}
	b1, err := flat(y)
	if err != nil {
		return nil, err
	}
	out := []api.Change{}
	for _, key := range sortedKeys(union(a1, b1)) {
		if a1[key] != b1[key] {
			out = append(out, api.Change{
				Key: key, From: a1[key], To: b1[key], Tag: api.Roll, Service: y.Service,
				Text: y.Service + ": " + differs(key, a1[key], b1[key]),
			})
		}
	}
	return out, nil
}

// differs says in words how two releases differ in key.
func differs(key, from, to string) string {
	switch {
	case from == "":
		return key + " added: " + to
	case to == "":
		return key + " taken out, was " + from
	default:
		return key + " " + from + " → " + to
	}
}

// flat is what a release is made of, by the keys of the file. Contents of files
// and secrets are shown by the beginnings of their digests only: they may be
// secret.
func flat(r backstay.Release) (map[string]string, error) {
	text, err := json.Marshal(r.Exec)
	if err != nil {
		return nil, fmt.Errorf("compare releases: %w", err)
	}
	var run map[string]any
	if err := json.Unmarshal(text, &run); err != nil {
		return nil, fmt.Errorf("compare releases: %w", err)
	}
	run["exec"], run["umask"] = run["argv"], fmt.Sprintf("%03o", r.Exec.Umask) // as the file has them
	delete(run, "argv")
	out := map[string]string{"version": r.Version, "ready": r.Ready, "contents of the program": short(r.Executable)}
	flatten("run", run, out)
	for name, p := range r.Ports {
		out["ports."+name] = portText(p)
	}
	for name := range r.EnvFiles {
		out["contents of "+name] = short(sumOf(r.EnvFiles[name]))
	}
	for name := range r.Secrets {
		out["contents of secret "+name] = short(r.Secrets[name])
	}
	return out, nil
}

// portText is a port as the file says it.
func portText(p backstay.Port) string {
	text := "auto"
	if p.Number != 0 {
		text = strconv.Itoa(int(p.Number))
	}
	if p.UDP {
		text += "/udp"
	}
	return text
}

func flatten(key string, v any, to map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			flatten(key+"."+k, x, to)
		}
	case []any:
		for i, x := range v {
			flatten(fmt.Sprintf("%s[%d]", key, i), x, to)
		}
	default:
		to[key] = fmt.Sprint(v)
	}
}

func union(a, b map[string]string) map[string]bool {
	out := map[string]bool{}
	for k := range a {
		out[k] = true
	}
	for k := range b {
		out[k] = true
	}
	return out
}
