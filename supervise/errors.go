package supervise

import (
	"errors"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
)

// noSlotCode is how a keeper refuses what is about an instance it does not know.
const noSlotCode = "no_slot"

// noSlot reports whether the keeper has said that it does not know the instance.
func noSlot(err error) bool {
	var refusal *keeperwire.Msg
	return errors.As(err, &refusal) && refusal.Code == noSlotCode
}

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
