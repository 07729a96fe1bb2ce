package supervise

import (
	"fmt"
	"time"

	"github.com/backstay/backstay"
)

// do is what the core wants done. All but set, restore, forget and record are
// carried out beside the owner; those of the keeper in order for one instance.
type do uint8

const (
	doSet      do = iota + 1 // tell the registry what the instance is now
	doRestore                // tell the registry that it may have traffic again
	doForget                 // tell the registry that it is gone
	doRecord                 // tell people
	doPut                    // keeper: how to run it, with today's policy
	doStart                  // keeper: run it
	doStop                   // keeper: signal, grace, kill the tree
	doKill                   // keeper: kill the tree, and start it again
	doRemove                 // keeper: forget it
	doReady                  // keeper: whether it is ready
	doNote                   // keeper: keep this over our death
	doWithdraw               // registry: no proxy sends it anything more
	doDrain                  // registry: nothing is in flight
	doProbe                  // ask
	doTail                   // read the last lines of its log
	doAskKill                // fleet: liveness has failed; is it this one's turn?
	doGone                   // fleet: it is no more
)

var doNames = map[do]string{
	doSet: "registry set", doRestore: "registry restore", doForget: "registry remove", doRecord: "event",
	doPut: "keeper put", doStart: "keeper start", doStop: "keeper stop", doKill: "keeper kill", doRemove: "keeper remove",
	doReady: "keeper ready", doNote: "keeper note", doWithdraw: "registry withdraw", doDrain: "registry drain",
	doProbe: "probe", doTail: "read log", doAskKill: "ask to kill", doGone: "gone",
}

// effect is one thing to be done. Which fields count follows from do.
type effect struct {
	do     do
	reason string         // stop, kill
	yes    bool           // ready
	long   bool           // drain: upgraded connections too
	within time.Duration  // withdraw, drain: then it counts as refused
	chain  int            // withdraw, drain: which attempt to leave it belongs to
	probe  int            // probe: which
	end    Endpoint       // set
	note   note           // note
	event  backstay.Event // record
}

// String returns e as transcripts show it.
func (e effect) String() string {
	s := doNames[e.do]
	switch e.do {
	case doSet:
		s += fmt.Sprintf(" ready=%v drain=%v starts=%d", e.end.Ready, e.end.Drain, e.end.Starts)
	case doRecord:
		s += fmt.Sprintf(" %s %s > %s: %s", e.event.Kind, e.event.From, e.event.To, e.event.Because)
	case doStop, doKill:
		s += ": " + e.reason
	case doReady:
		s += fmt.Sprintf(" %v", e.yes)
	case doNote:
		s += " " + e.note.String()
	case doWithdraw:
		s += fmt.Sprintf(" within %v", e.within)
	case doDrain:
		s += fmt.Sprintf(" long=%v within %v", e.long, e.within)
	case doProbe:
		s += " " + probeNames[e.probe]
	default:
	}
	return s
}
