package keeperwire

func (s *Slot) append(b []byte) []byte {
	b = putBytes(b, 1, s.ID)
	b = putBytes(b, 2, s.Meta)
	b = putUint(b, 3, s.SpecHash)
	b = putUint(b, 4, uint64(s.State))
	b = putInt(b, 5, s.PID)
	b = putUint(b, 6, s.Ticks)
	b = putInt(b, 7, s.Started)
	b = putInt(b, 8, s.StartedAt)
	b = putUint(b, 9, uint64(s.Starts))
	b = putUint(b, 10, uint64(s.Failures))
	b = putInt(b, 11, s.NextStart)
	b = putBool(b, 12, s.Ready)
	b = putBytes(b, 13, s.Note)
	b = putStruct(b, 14, s.Last.append)
	b = putUint(b, 15, s.Dropped)
	return putBytes(b, 16, s.Why)
}

func (s *Slot) take(tag byte, v value) {
	switch tag {
	case 1:
		s.ID = v.str()
	case 2:
		s.Meta = v.bytes()
	case 3:
		s.SpecHash = v.uint()
	case 4:
		s.State = State(v.upTo(8))
	case 5:
		s.PID = v.int32()
	case 6:
		s.Ticks = v.uint()
	case 7:
		s.Started = v.int()
	case 8:
		s.StartedAt = v.int()
	case 9:
		s.Starts = uint32(v.upTo(32))
	case 10:
		s.Failures = uint32(v.upTo(32))
	case 11:
		s.NextStart = v.int()
	case 12:
		s.Ready = v.bool()
	case 13:
		s.Note = v.bytes()
	case 14:
		v.in(s.Last.take)
	case 15:
		s.Dropped = v.uint()
	case 16:
		s.Why = v.str()
	}
}

func (e *Exit) append(b []byte) []byte {
	b = putInt(b, 1, e.At)
	b = putInt(b, 2, e.PID)
	b = putBool(b, 3, e.Known)
	b = putInt(b, 4, e.Code)
	b = putInt(b, 5, e.Signal)
	b = putBool(b, 6, e.Core)
	b = putBool(b, 7, e.OOM)
	b = putBool(b, 8, e.Asked)
	b = putBytes(b, 9, e.Stage)
	b = putBytes(b, 10, e.Reason)
	b = putInt(b, 11, e.UserMS)
	b = putInt(b, 12, e.SysMS)
	return putInt(b, 13, e.RSSKiB)
}

func (e *Exit) take(tag byte, v value) {
	switch tag {
	case 1:
		e.At = v.int()
	case 2:
		e.PID = v.int32()
	case 3:
		e.Known = v.bool()
	case 4:
		e.Code = v.int32()
	case 5:
		e.Signal = v.int32()
	case 6:
		e.Core = v.bool()
	case 7:
		e.OOM = v.bool()
	case 8:
		e.Asked = v.bool()
	case 9:
		e.Stage = v.str()
	case 10:
		e.Reason = v.str()
	case 11:
		e.UserMS = v.int()
	case 12:
		e.SysMS = v.int()
	case 13:
		e.RSSKiB = v.int()
	}
}

// Append appends the fields of e: a frame's, and a record's of the ring.
func (e *Event) Append(b []byte) []byte {
	b = putUint(b, 1, e.Seq)
	b = putInt(b, 2, e.At)
	b = putInt(b, 3, e.Boot)
	b = putUint(b, 4, uint64(e.Kind))
	b = putBytes(b, 5, e.ID)
	b = putInt(b, 6, e.PID)
	b = putUint(b, 7, uint64(e.State))
	b = putInt(b, 8, e.NextStart)
	b = putUint(b, 9, uint64(e.Starts))
	b = putUint(b, 10, uint64(e.Failures))
	b = putUint(b, 11, e.N)
	b = putStruct(b, 12, e.Exit.append)
	return putBytes(b, 13, e.Text)
}

// DecodeEvent reads what Append wrote.
func DecodeEvent(b []byte) (Event, error) {
	var e Event
	err := each(b, e.take)
	return e, err
}

func (e *Event) take(tag byte, v value) {
	switch tag {
	case 1:
		e.Seq = v.uint()
	case 2:
		e.At = v.int()
	case 3:
		e.Boot = v.int()
	case 4:
		e.Kind = Kind(v.upTo(8))
	case 5:
		e.ID = v.str()
	case 6:
		e.PID = v.int32()
	case 7:
		e.State = State(v.upTo(8))
	case 8:
		e.NextStart = v.int()
	case 9:
		e.Starts = uint32(v.upTo(32))
	case 10:
		e.Failures = uint32(v.upTo(32))
	case 11:
		e.N = v.uint()
	case 12:
		v.in(e.Exit.take)
	case 13:
		e.Text = v.bytes()
	}
}

func (p *Probe) append(b []byte) []byte {
	b = putBytes(b, 1, p.ID)
	b = putBytes(b, 2, p.Name)
	b = putUint(b, 3, p.N)
	b = putList(b, 4, p.Argv)
	b = putList(b, 5, p.Env)
	b = putBytes(b, 6, p.Dir)
	b = putBool(b, 7, p.SetIDs)
	b = putUint(b, 8, uint64(p.UID))
	b = putUint(b, 9, uint64(p.GID))
	b = putGroups(b, 10, p.Groups)
	return putInt(b, 11, p.TimeoutMS)
}

func (p *Probe) take(tag byte, v value) {
	switch tag {
	case 1:
		p.ID = v.str()
	case 2:
		p.Name = v.str()
	case 3:
		p.N = v.uint()
	case 4:
		p.Argv = append(p.Argv, v.str())
	case 5:
		p.Env = append(p.Env, v.str())
	case 6:
		p.Dir = v.str()
	case 7:
		p.SetIDs = v.bool()
	case 8:
		p.UID = uint32(v.upTo(32))
	case 9:
		p.GID = uint32(v.upTo(32))
	case 10:
		p.Groups = append(p.Groups, uint32(v.upTo(32)))
	case 11:
		p.TimeoutMS = v.int()
	}
}

func (w *Welcome) append(b []byte) []byte {
	b = putUint(b, 1, uint64(w.Version))
	b = putUint(b, 2, w.Gen)
	b = putInt(b, 3, w.PID)
	b = putBytes(b, 4, w.BootID)
	b = putBool(b, 5, w.Cgroups)
	return putBytes(b, 6, w.Why) // 7 was the sum of the program
}

func (w *Welcome) take(tag byte, v value) {
	switch tag {
	case 1:
		w.Version = uint16(v.upTo(16))
	case 2:
		w.Gen = v.uint()
	case 3:
		w.PID = v.int32()
	case 4:
		w.BootID = v.str()
	case 5:
		w.Cgroups = v.bool()
	case 6:
		w.Why = v.str()
	}
}
