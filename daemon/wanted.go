package daemon

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/deploy"
)

// outcomeWithin is how long a deploy is waited for that is about to begin: who
// asks is to hear something before the line looks dead, and asks again.
const outcomeWithin = 10 * time.Second

// endedSoFar is the newest deploy of each service of d that has ended: what d
// brings about is decided by later ones. changing is held.
func (a *agent) endedSoFar(d *desired) map[string]string {
	all := map[string]string{}
	for name := range d.wants {
		_, all[name] = a.deploy.Wanted(name)
	}
	return all
}

// wanted is which releases d, which is in force, wants, with what has become of
// them so far, by deploys after those called after: one may have ended already.
// changing is held: what is wanted is what d has brought.
func (a *agent) wanted(ctx context.Context, d *desired, after map[string]string) (all []api.Wanted) {
	now, cancel := context.WithCancel(ctx)
	cancel() // what is not decided is not waited for
	for _, name := range sortedKeys(d.wants) {
		seq, _ := a.deploy.Wanted(name)
		all = append(all, a.wantedOf(name, seq, after[name], a.deploy.Outcome(now, name, seq, after[name])))
	}
	return all
}

// Outcome implements [api.Deploys].
func (a *agent) Outcome(ctx context.Context, service, release, after string) (api.Wanted, error) {
	seq, err := strconv.Atoi(strings.TrimPrefix(release, service+"@"))
	if err != nil || seq < 1 {
		return api.Wanted{}, &backstay.Problem{Code: "release_unknown", What: "there is no release " + shown(release), Where: shown(release), Do: "see backstay releases " + service}
	}
	waiting, cancel := context.WithTimeout(ctx, outcomeWithin)
	defer cancel()
	o := a.deploy.Outcome(waiting, service, seq, after)
	return a.wantedOf(service, seq, after, o), ctx.Err() //nolint:wrapcheck // who asked has gone
}

func (a *agent) wantedOf(service string, seq int, after string, o deploy.Outcome) api.Wanted {
	w := api.Wanted{
		Service: service, After: after, Outcome: api.Outcome(o.What), Why: o.Why,
	}
	if seq != 0 { // 0: its state cannot be read, so that it has got no number
		w.Release = backstay.ReleaseID(service, seq)
	}
	if o.Deploy.ID != "" {
		d := a.deployOf(o.Deploy)
		w.Deploy = &d
	}
	return w
}
