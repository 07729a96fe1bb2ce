package daemon

import (
	"context"
	"maps"
	"reflect"
	"strings"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7"
)

// refresh has proxies serve certificates that have changed on disk, once they
// and their keys match: the others stay as they were, and status says so. A
// secret that could not be read when this agent came is looked for again.
func (a *agent) refresh(ctx context.Context) {
	a.changing.Lock()
	defer a.changing.Unlock()
	d := a.now.Load()
	if d == nil || len(d.orders.certs) == 0 && len(d.lost) == 0 {
		return
	}
	next, lost, err := readOrders(d.file, &l7.Snapshot{Certs: d.orders.certs, Pages: d.orders.pages})
	if err != nil { // cannot be: what cannot be read is kept
		a.log.ErrorContext(ctx, "files not read anew", "why", err.Error())
		return
	}
	fresh := d.with(d.orders)
	fresh.orders.certs = next.certs
	a.findSecrets(ctx, d, lost)
	a.tellLost(d.lost, lost)
	fresh.lost = lost
	a.now.Store(fresh)
	if reflect.DeepEqual(next.certs, d.orders.certs) {
		return
	}
	a.board.set(fresh.orders)
	a.registry.Touch()
	a.log.InfoContext(ctx, "certificates changed")
	a.tellCertificates(d.orders.certs, next.certs)
	a.settle(ctx, fresh)
}

// tellCertificates tells which were replaced.
func (a *agent) tellCertificates(before, now []l7.Certificate) {
	for _, c := range now {
		if was := certOf(before, c.CertFiles); was == nil || !reflect.DeepEqual(*was, c) {
			a.bus.Record(backstay.Event{Kind: backstay.ConfigApplied, Ref: "config/file", Because: "certificate " + c.Cert + " has changed on disk and is served"})
		}
	}
}

// findSecrets takes those secrets that were lost and are back, and adds the
// others to lost.
func (a *agent) findSecrets(ctx context.Context, d *desired, lost map[string]error) {
	gone := map[string]error{}
	for where, err := range d.lost {
		if name, ok := strings.CutPrefix(where, secretAt); ok {
			gone[name] = err
		}
	}
	if len(gone) == 0 {
		return
	}
	next, unread := a.secrets.read(ctx, d.file)
	for name := range gone {
		if err := unread[name]; err != nil {
			lost[secretAt+name] = err
			continue
		}
		if v, err := next.content(name); err == nil {
			a.secrets.fill(name, v)
			d.secrets.fill(name, v)
		}
	}
}

// tellLost tells what cannot be read since just now, and what can be again.
func (a *agent) tellLost(before, now map[string]error) {
	for _, where := range sortedKeys(now) {
		if was := before[where]; was == nil || was.Error() != now[where].Error() {
			a.log.Warn("not taken from disk, what was read before is in force", "where", where, "why", now[where].Error())
			a.bus.Record(backstay.Event{Kind: backstay.ConfigRefused, Ref: "config/file", Because: where + " is not taken, what was read before is in force: " + now[where].Error()})
		}
	}
	back := maps.Clone(before)
	maps.DeleteFunc(back, func(where string, _ error) bool { return now[where] != nil })
	for _, where := range sortedKeys(back) {
		a.log.Info("readable again", "where", where)
	}
}
