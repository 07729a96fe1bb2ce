package daemon

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/host/sock"
)

// answer serves the API on f until ctx is done.
func (a *agent) answer(ctx context.Context, f *os.File) error {
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("serve api: %w", err)
	}
	if unix, ok := l.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // the keeper has it too
	}
	server := api.NewServer(a, api.Options{Log: a.log, Owner: uint32(os.Geteuid()), Peer: a.peer})
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(api.Listener(l)); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve api: %w", err)
	}
	return ctx.Err() //nolint:wrapcheck // being told to end is no story
}

// peer says who is at the other end of a connection.
func (a *agent) peer(c net.Conn) (api.Actor, error) {
	p, err := sock.PeerCred(c)
	if err != nil {
		return api.Actor{}, err //nolint:wrapcheck // it tells its story
	}
	actor := api.Actor{UID: p.UID, GID: p.GID, PID: p.PID}
	if u, err := a.users.User(strconv.FormatUint(uint64(p.UID), 10)); err == nil {
		actor.Name = u.Name
	}
	return actor, nil
}

// Validate implements [api.Configs].
func (a *agent) Validate(_ context.Context, ask api.ConfigAsk) error {
	_, err := parseFor(ask)
	return err
}

// parseFor parses the file of somebody. For those who may not apply this host is
// not asked: what a file names may be read by root only, and whether it is there
// and what is wrong with it is told to nobody else.
func parseFor(ask api.ConfigAsk) (*config.File, error) {
	env := config.Host()
	if !mayApply(ask.By) {
		env = nil
	}
	f, err := config.ParseIn(env, ask.Name, ask.Text)
	if err != nil {
		return nil, refusalOf(err)
	}
	return f, nil
}

// Apply implements [api.Configs].
func (a *agent) Apply(ctx context.Context, ask api.ConfigAsk) (api.Applied, error) {
	applied, err := a.take(ctx, ask)
	if err != nil { // who asked is told; status is about the file of this host
		a.bus.Record(backstay.Event{Kind: backstay.ConfigRefused, Ref: "config/file", Because: problemsOf(ask.Name, err).What, Actor: ask.By.Name})
	}
	return applied, err
}

// Plan implements [api.Configs]. For those who may not apply it compares the
// texts alone: what a file names may be read by root only, and a secret may come
// from a command that it names.
func (a *agent) Plan(ctx context.Context, ask api.ConfigAsk) (api.Plan, error) {
	if !mayApply(ask.By) {
		return a.planText(ask)
	}
	d, err := a.prepare(ctx, ask.Name, ask.Text)
	if err != nil {
		return api.Plan{}, err
	}
	a.work(d, nil, anew)
	return a.warned(a.planOf(a.now.Load(), d), d), nil
}

// warned is p, and that apply would refuse d, where it would.
func (a *agent) warned(p api.Plan, d *desired) api.Plan {
	if err := a.stopsAll(d); err != nil {
		p.Notes = append(p.Notes, "apply refuses it without --stop-all: "+err.Error())
	}
	if err := a.takesOwnPort(d); err != nil {
		p.Notes = append(p.Notes, "apply refuses it: "+err.Error())
	}
	if err := a.opensGap(d); err != nil {
		p.Notes = append(p.Notes, "apply refuses it without --gap: "+err.Error())
	}
	return p
}

// mayApply reports whether who asks could put a file in force. Nobody is known
// by pid 0.
func mayApply(by api.Actor) bool { return by.PID > 0 && (by.UID == 0 || int(by.UID) == os.Geteuid()) }

// planText is the plan of a text, and of nothing that it names.
func (a *agent) planText(ask api.ConfigAsk) (api.Plan, error) {
	f, err := parseFor(ask)
	if err != nil {
		return api.Plan{}, err
	}
	d := &desired{kept: keptOf(f), file: f}
	p := a.warned(a.planOf(a.now.Load(), d), d)
	p.Notes = append(p.Notes, "only the texts are compared: root sees what has changed in programs, env files and secrets too")
	return p, nil
}

// Configs implements [api.Configs].
func (a *agent) Configs(context.Context) ([]api.Config, error) {
	all, err := a.configs.all()
	if err != nil {
		return nil, err
	}
	now := a.now.Load()
	out := make([]api.Config, 0, len(all))
	for _, k := range all {
		out = append(out, api.Config{
			Digest: k.Digest, File: k.Name, At: k.At, By: k.By, InUse: now != nil && now.kept.Digest == k.Digest,
		})
	}
	return out, nil
}
