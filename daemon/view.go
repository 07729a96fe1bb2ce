package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
				Text: fmt.Sprintf("%s: %s %s → %s", y.Service, key, a1[key], b1[key]),
			})
		}
	}
	return out, nil
}

// flat is what a release is made of, by dotted key. Contents of env files are
// shown by their digest only: they may be secret.
func flat(r backstay.Release) (map[string]string, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("compare releases: %w", err)
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("compare releases: %w", err)
	}
	for _, key := range []string{"seq", "digest", "at", "by", "why"} {
		delete(all, key)
	}
	out := map[string]string{}
	flatten("", all, out)
	for name := range r.EnvFiles {
		sum := sha256.Sum256(r.EnvFiles[name])
		out["env_files."+name] = "sha256 " + hex.EncodeToString(sum[:4])
	}
	return out, nil
}

func flatten(key string, v any, to map[string]string) {
	if key != "" {
		key += "."
	}
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			flatten(key+k, x, to)
		}
	case []any:
		for i, x := range v {
			flatten(key+strconv.Itoa(i), x, to)
		}
	default:
		to[strings.TrimSuffix(key, ".")] = fmt.Sprint(v)
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
