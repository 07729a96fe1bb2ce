package daemon

import (
	"context"
	"errors"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
)

// problemOf is err as the API shows it: what a keeper refuses has a code of its
// own wire.
func problemOf(ref backstay.Ref, err error) error {
	refusal := new(keeperwire.Msg)
	switch p := new(backstay.Problem); {
	case err == nil, errors.As(err, &p), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &refusal):
		return refusalProblem(ref, refusal)
	case errors.Is(err, context.DeadlineExceeded):
		return &backstay.Problem{
			Code: "keeper_gone", What: "the keeper has not answered in time", Where: string(ref), Why: err.Error(),
			Do: "try again: a keeper that is gone is started anew",
		}
	default:
		return err
	}
}

// refusalProblem is what a keeper refuses.
func refusalProblem(ref backstay.Ref, m *keeperwire.Msg) *backstay.Problem {
	p := &backstay.Problem{Code: "internal", What: "the keeper refuses: " + m.Text, Where: string(ref), Do: "see backstay logs role/agent"}
	switch m.Code {
	case "no_slot":
		p.Code, p.Do = "not_found", "see backstay status for what there is"
	case "not_running":
		p.Code, p.Do = "not_running", "see backstay why "+string(ref)
	}
	return p
}
