package daemon

import (
	"context"

	"github.com/backstay/backstay/host/proc/keeperclient"
	"github.com/backstay/backstay/internal/keeperwire"
)

// What [supervise.Keeper] asks for, asked of whichever keeper there is.

func (l *link) Put(ctx context.Context, s keeperwire.Spec) error {
	return l.ask(ctx, func(k *keeperclient.Client) error { return k.Put(ctx, s) })
}

func (l *link) Start(ctx context.Context, id string) error {
	return l.ask(ctx, func(k *keeperclient.Client) error { return k.Start(ctx, id) })
}

func (l *link) Stop(ctx context.Context, id, reason string) error {
	return l.ask(ctx, func(k *keeperclient.Client) error { return k.Stop(ctx, id, reason) })
}

func (l *link) Signal(ctx context.Context, id string, n int) error {
	return l.ask(ctx, func(k *keeperclient.Client) error { return k.Signal(ctx, id, n) })
}

func (l *link) Kill(ctx context.Context, id, reason string, wanted bool) error {
	return l.ask(ctx, func(k *keeperclient.Client) error { return k.Kill(ctx, id, reason, wanted) })
}

func (l *link) Remove(ctx context.Context, id string) error {
	err := l.ask(ctx, func(k *keeperclient.Client) error { return k.Remove(ctx, id) })
	if err == nil {
		l.removed(id)
	}
	return err
}

func (l *link) SetReady(ctx context.Context, id string, ready bool) error {
	return l.ask(ctx, func(k *keeperclient.Client) error { return k.SetReady(ctx, id, ready) })
}

func (l *link) SetNote(ctx context.Context, id string, note []byte) error {
	return l.ask(ctx, func(k *keeperclient.Client) error { return k.SetNote(ctx, id, note) })
}

func (l *link) Probe(ctx context.Context, p keeperwire.Probe) error {
	return l.ask(ctx, func(k *keeperclient.Client) error { return k.Probe(ctx, p) })
}

func (l *link) List(ctx context.Context) (slots []keeperwire.Slot, err error) {
	err = l.ask(ctx, func(k *keeperclient.Client) error {
		slots, err = k.List(ctx)
		return err
	})
	return slots, err
}
