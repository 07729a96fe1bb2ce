package supervise

import (
	"errors"

	"github.com/backstay/backstay"
)

// ErrNoSlot is what a [Keeper] answers, alone or wrapped, about an instance
// that it does not know.
var ErrNoSlot = errors.New("the keeper has no such instance")

func notFound(id string) error {
	return &backstay.Problem{
		Code: "not_found", What: "there is no instance " + id, Where: "instance/" + id,
		Do: "see backstay status for those there are",
	}
}

func leavingProblem(id string) error {
	return &backstay.Problem{
		Code: "instance_stopping", What: id + " is on its way out", Where: "instance/" + id,
		Why: "a stop is never taken back", Do: "wait until it is gone; its service keeps its number of instances",
	}
}

func portsUsed(service string) error {
	return &backstay.Problem{
		Code: "ports_exhausted", What: "no port from 20000 to 29999 is free", Where: "service/" + service,
		Why: "auto takes its ports from there", Do: "stop what holds them, or write fixed ports",
	}
}
