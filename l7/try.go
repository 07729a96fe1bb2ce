package l7

import (
	"slices"
	"time"

	"github.com/backstay/backstay/l7/h1"
)

// try sends the request to m and waits for the head of its answer.
func (ex *exchange) try(m *member) try {
	c := ex.c
	u, err := c.p.upstreamTo(m, ex.fresh, min(ex.route.connect, ex.patience()))
	if err != nil {
		return try{outcome: unreached, kept: ex.replay}
	}
	ex.up = u
	c.serving.Store(u)
	if c.p.dialing.Err() != nil || ex.watch.left.Load() { // whoever closes it has not seen this one
		u.close()
	}
	t := try{reused: u.used, kept: ex.replay}
	t.wrote, err = ex.send(u)
	switch {
	case isTimeout(err): // it takes nothing, and has all the time had to answer
		t.outcome = late
		return t
	case err != nil && !t.wrote:
		t.outcome = cut
		return t
	}
	// After a write that failed in the middle an answer may be here all the same:
	// a server that refuses a body early says so and closes.
	if ex.stream.on {
		t.kept, ex.replay = false, false // before: the stream asks how patient to be
		ex.startStream(u)
	}
	t.outcome = ex.await(u)
	t.kept = ex.replay
	t.status = ex.resp.Status
	ex.markAnswered()
	if t.outcome == cut && t.reused {
		m.idle.drop() // the others are as old
	}
	return t
}

// send writes the head and what is kept of the body, in one piece if it fits.
func (ex *exchange) send(u *upstream) (wrote bool, err error) {
	c := ex.c
	c.fwd.Expect = ex.stream.on && c.req.Expect
	out := h1.AppendRequest((*ex.out)[:0], &c.req, &c.fwd)
	body := ex.kept
	if len(body) > 0 && !ex.stream.on && len(out)+len(body) <= cap(out) {
		out, body = append(out, body...), nil
	}
	within := ex.patience()
	u.writeWithin(u.now(), within)
	n, err := u.Write(out)
	if err != nil || len(body) == 0 || ex.stream.on {
		return n > 0, err
	}
	return true, u.writePiece(body, within)
}

// patience is how long the head of the answer may take once the request is out:
// per_try_timeout if another try may follow. Where none can, giving up early
// would only turn a late answer into an error.
func (ex *exchange) patience() time.Duration {
	r := &ex.route.retry
	if r.perTry > 0 && ex.replay && ex.others() && r.mayFollow(&ex.tries, idempotent(ex.c.req.Method)) {
		return min(r.perTry, ex.route.response)
	}
	return ex.route.response
}

// others reports whether there is somebody who has not been tried.
func (ex *exchange) others() bool {
	return slices.ContainsFunc(ex.target.list, func(m *member) bool { return !slices.Contains(ex.tried, m.server) })
}

// maxInterims bounds the 1xx answers before the one that counts.
const maxInterims = 16

// await reads the head of the answer into ex.resp. Interim ones go to the client.
func (ex *exchange) await(u *upstream) outcome {
	c, buf := ex.c, *ex.rbuf
	limits := h1.Limits{Head: len(buf)}
	ex.resp.Reset()
	ex.rn, ex.until = 0, 0
	if !ex.stream.on {
		ex.until = u.now() + int64(ex.patience())
	}
	for interims := 0; ; {
		n, err := ex.readHead(u, buf[ex.rn:])
		if ex.rn += n; n == 0 {
			return ex.silence(err)
		}
		for err = nil; err == nil && ex.rn > 0; {
			ex.rhead, err = ex.resp.Parse(buf[:ex.rn], &c.req, limits)
			switch {
			case err == nil && !ex.resp.Interim():
				return answered
			case err == nil:
				if interims++; interims > maxInterims || !ex.passInterim() {
					return unreadable
				}
			case err != h1.ErrIncomplete: //nolint:errorlint // one value, never wrapped
				c.p.refused.answers.count(err)
				return unreadable
			}
		}
	}
}

// readHead reads more of the head of an answer. As long as the body is on its way
// to the server there is no hurry.
func (ex *exchange) readHead(u *upstream, b []byte) (int, error) {
	if ex.until == 0 {
		n, err := u.Read(b)
		if n > 0 || !isTimeout(err) || ex.c.fault() != nil || ex.stuck() {
			return n, err
		}
		ex.until, u.rd = u.now()+int64(ex.patience()), 0 // it is out: the stream has woken us
	}
	return ex.readAnswer(&u.timed, b, time.Duration(ex.until-u.now()))
}

// silence says what it means that no more of an answer comes.
func (ex *exchange) silence(err error) outcome {
	switch {
	case isTimeout(err):
		return late
	case ex.rn > 0:
		return unreadable
	default:
		return cut
	}
}

// passInterim sends a 1xx on, to a client that can take it and, if it is 100,
// has asked for it. From then on there is only one answer.
func (ex *exchange) passInterim() bool {
	c := ex.c
	if c.req.Minor > 0 && (ex.resp.Status != 100 || c.req.Expect) {
		ex.replay = false
		text := h1.AppendResponse((*ex.out)[:0], &ex.resp, &c.req, true)
		if c.writeAll(text, c.front.stall) != nil {
			ex.watch.left.Store(true) // no fault of the server
			return false
		}
	}
	copy(*ex.rbuf, (*ex.rbuf)[ex.rhead:ex.rn])
	ex.rn -= ex.rhead
	return true
}
