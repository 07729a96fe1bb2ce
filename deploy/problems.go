package deploy

import (
	"fmt"

	"github.com/backstay/backstay"
)

func problem(code, service, do, format string, args ...any) *backstay.Problem {
	return &backstay.Problem{Code: code, What: fmt.Sprintf(format, args...), Where: "service/" + service, Do: do}
}

func unknownService(service string) error {
	return problem("not_found", service, "see backstay status for those there are", "there is no service %s", service)
}

// running is that d is under way, told to who asks for another deploy.
func running(d Deploy) error {
	return underWay(d, "wait for it (--wait 15m), put another in its place (--supersede), or backstay abort "+d.Service)
}

// busy is running, told to who cannot have anything take its place.
func busy(d Deploy) error {
	do := "wait for its end: backstay why deploy/" + d.Service + " shows how far it is"
	if d.State != RollingBack {
		do += "; or undo it: backstay abort " + d.Service
	}
	return underWay(d, do)
}

func underWay(d Deploy, do string) error {
	p := problem("deploy_running", d.Service, do, "a deploy of %s is under way", d.Service)
	p.Why = fmt.Sprintf("%s: %s, %s since %s", d.ID, d.title(), d.State, d.Since.Format("15:04:05"))
	return p
}

func noDeploy(service string) error {
	return problem("no_deploy", service, "see backstay history "+service, "no deploy of %s is under way", service)
}

func undoneProblem(service string, u undone) error {
	p := problem("release_rolled_back", service, "mend it, or backstay deploy "+service+" --again",
		"%s was rolled back and is not tried again by itself", backstay.ReleaseID(service, u.Seq))
	p.Why = u.Why
	return p
}

func notStartable(rel backstay.Release, err error) error {
	p := problem("release_not_startable", rel.Service, "put it right and deploy again; nothing has changed", "%s could not be started", rel.ID())
	p.Why = err.Error()
	return p
}

func noWayBack(from, to backstay.Release, err error) *backstay.Problem {
	p := problem("rollback_not_startable", from.Service,
		"put back what is gone, give each version its own path, or write on_failure: pause; nothing has changed",
		"%s is not deployed, because %s, which it would be rolled back to, could not be started", to.ID(), from.ID())
	p.Why = err.Error()
	return p
}

func cannotGoBack(rel backstay.Release, err error) error {
	p := problem("rollback_not_startable", rel.Service, "put back what is gone, or choose another: backstay releases "+rel.Service,
		"%s could not be started, so nothing is rolled back; nothing has changed", rel.ID())
	p.Why = err.Error()
	return p
}

func nothingBack(service string) error {
	return problem("nothing_to_roll_back", service, "see backstay releases "+service, "%s has no good release before this one", service)
}

func stoppedProblem(service string) error {
	return problem("stopped", service, "backstay start "+service+", or ask for more than 0 replicas", "no instance of %s is wanted, so there is nothing to deploy to", service)
}

func diskProblem(service string, err error) error {
	p := problem("disk", service, "make room on the disk of the state directory; what runs goes on", "the state of %s cannot be written", service)
	p.Why = err.Error()
	return p
}

func newerProblem(service string, err error) error {
	p := problem("state_newer", service, "run the version that wrote it; what runs goes on untouched", "the state of %s cannot be read by this version", service)
	p.Why = err.Error()
	return p
}
