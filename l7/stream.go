package l7

import "time"

// startStream sends the body to u while the answer is awaited.
func (ex *exchange) startStream(u *upstream) {
	_ = u.SetReadDeadline(time.Time{}) // until the body is out
	u.rd = 0
	done := make(chan struct{})
	ex.stream.done = done
	go func() {
		in, out := getBuffer(largeBuffers), getBuffer(largeBuffers)
		ex.runStream(u, *in, *out)
		largeBuffers.Put(in)
		largeBuffers.Put(out)
		close(done) // and from here on nothing of ex is touched
	}()
}

func (ex *exchange) runStream(u *upstream, in, out []byte) {
	c := ex.c
	c.body.buf = in
	w := bodyWriter{to: &u.timed, toServer: true, within: ex.route.response, kind: c.req.Body.Kind, out: out[:0]}
	fault, err := ex.pump(&w)
	c.body.detach()
	s := &ex.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over, s.whole, s.stuck, s.fault = true, fault == nil && err == nil, isTimeout(err), fault
	if fault != nil || !s.answered {
		u.interruptRead() // whoever waits for the answer has an end to look at now
	}
}

// pump sends what is kept and then the rest. It returns what was wrong with the
// client, if anything, and why the server has not got all of it: that it takes
// no more is no fault, its answer says why.
func (ex *exchange) pump(w *bodyWriter) (fault, err error) {
	b := &ex.c.body
	if len(ex.kept) > 0 {
		if err := w.write(ex.kept); err != nil {
			return nil, err
		}
	}
	readErr, writeErr := w.copyFrom(b)
	switch {
	case readErr != nil && b.stop.Load(): // we have ended it
		return nil, errStopped
	case readErr != nil:
		return readErr, nil
	default:
		return nil, writeErr
	}
}

// markAnswered says that the head is here: from now on the reader of the answer
// sets the deadlines.
func (ex *exchange) markAnswered() {
	if !ex.stream.on {
		return
	}
	ex.stream.mu.Lock()
	defer ex.stream.mu.Unlock()
	ex.stream.answered = true
	ex.up.rd = 0
}

// stuck reports whether the server has taken nothing of the body for too long.
func (ex *exchange) stuck() bool {
	ex.stream.mu.Lock()
	defer ex.stream.mu.Unlock()
	return ex.stream.stuck
}

// fault returns what was wrong with the body of the request so far.
func (c *conn) fault() error {
	s := &c.ex.stream
	if !s.on {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// bodyIsOut reports whether nothing of the body is left to be read from the
// client.
func (ex *exchange) bodyIsOut() bool {
	s := &ex.stream
	if !s.on {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over && s.whole
}

// stopStream ends the sending of a body, if there is any, and reports whether
// all of the body has been read from the client: else what follows on the
// connection is not a request.
func (c *conn) stopStream() bool {
	s := &c.ex.stream
	if !s.on {
		return true
	}
	if s.done == nil { // it never began
		return false
	}
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	if !over {
		c.body.interrupt()
		c.ex.dropUpstream() // a write to it ends too
	}
	<-s.done
	c.rd = 0
	return s.whole
}
