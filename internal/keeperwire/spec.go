package keeperwire

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/restart"
)

// Bounds of a Spec.
const (
	MaxID   = 63       // a label
	MaxMeta = 4 << 10  // the agent's own
	MaxNote = 256      // so that a record stays one page
	MaxFDs  = 64       // more listeners than any service has
	MaxText = 400      // a reason, a step: one line; four fit a record
	MaxSpec = 60 << 10 // fits a frame, with room for what comes later
)

// Append appends the fields of s.
func (s *Spec) Append(b []byte) []byte {
	b = putBytes(b, 1, s.ID)
	b = putBytes(b, 2, s.Meta)
	b = putList(b, 3, s.Argv)
	b = putList(b, 4, s.Env)
	b = putBytes(b, 5, s.Dir)
	b = putBool(b, 6, s.SetIDs)
	b = putUint(b, 7, uint64(s.UID))
	b = putUint(b, 8, uint64(s.GID))
	b = putGroups(b, 9, s.Groups)
	b = putUint(b, 10, uint64(s.Umask))
	b = putInt(b, 11, s.Nice)
	b = putInt(b, 12, s.OOMScoreAdj)
	for _, r := range s.Rlimits {
		b = putStruct(b, 13, r.append)
	}
	b = putList(b, 14, s.FDs)
	b = putBytes(b, 15, s.Cgroup)
	b = putBytes(b, 16, s.LogFile)
	b = putInt(b, 17, s.LogMaxSize)
	b = putUint(b, 18, uint64(s.LogMaxFiles))
	b = putBool(b, 19, s.LogDrop)
	b = putStruct(b, 20, func(b []byte) []byte { return appendPolicy(b, s.Restart) })
	b = putInt(b, 21, s.Signal)
	b = putInt(b, 22, s.GraceMS)
	return putInt(b, 23, s.SilentMS)
}

// DecodeSpec reads what Append wrote.
func DecodeSpec(b []byte) (Spec, error) {
	var s Spec
	err := each(b, s.take)
	return s, err
}

func (s *Spec) take(tag byte, v value) {
	switch tag {
	case 1:
		s.ID = v.str()
	case 2:
		s.Meta = v.bytes()
	case 3:
		s.Argv = append(s.Argv, v.str())
	case 4:
		s.Env = append(s.Env, v.str())
	case 5:
		s.Dir = v.str()
	case 6:
		s.SetIDs = v.bool()
	case 7:
		s.UID = uint32(v.upTo(32))
	case 8:
		s.GID = uint32(v.upTo(32))
	case 9:
		s.Groups = append(s.Groups, uint32(v.upTo(32)))
	case 10:
		s.Umask = uint32(v.upTo(32))
	case 11:
		s.Nice = v.int32()
	case 12:
		s.OOMScoreAdj = v.int32()
	case 13:
		var r Rlimit
		v.in(r.take)
		s.Rlimits = append(s.Rlimits, r)
	default:
		s.takeRest(tag, v)
	}
}

func (s *Spec) takeRest(tag byte, v value) {
	switch tag {
	case 14:
		s.FDs = append(s.FDs, v.str())
	case 15:
		s.Cgroup = v.str()
	case 16:
		s.LogFile = v.str()
	case 17:
		s.LogMaxSize = v.int()
	case 18:
		s.LogMaxFiles = uint32(v.upTo(32))
	case 19:
		s.LogDrop = v.bool()
	case 20:
		s.Restart = policy(v)
	case 21:
		s.Signal = v.int32()
	case 22:
		s.GraceMS = v.int()
	case 23:
		s.SilentMS = v.int()
	}
}

func putGroups(b []byte, tag byte, groups []uint32) []byte {
	for _, g := range groups {
		b = putNumber(b, tag, uint64(g))
	}
	return b
}

func (r Rlimit) append(b []byte) []byte {
	b = putInt(b, 1, r.Resource)
	b = putUint(b, 2, r.Soft)
	return putUint(b, 3, r.Hard)
}

func (r *Rlimit) take(tag byte, v value) {
	switch tag {
	case 1:
		r.Resource = v.int32()
	case 2:
		r.Soft = v.uint()
	case 3:
		r.Hard = v.uint()
	}
}

func appendPolicy(b []byte, p restart.Policy) []byte {
	b = putUint(b, 1, uint64(p.When))
	b = putInt(b, 2, int64(p.Min))
	b = putInt(b, 3, int64(p.Max))
	b = putInt(b, 4, int64(p.ResetAfter))
	b = putInt(b, 5, p.Limit)
	b = putInt(b, 6, int64(p.Window))
	return putInt(b, 7, int64(p.RetryEvery))
}

func policy(v value) (p restart.Policy) {
	v.in(func(tag byte, v value) {
		switch tag {
		case 1:
			p.When = restart.When(v.upTo(8))
		case 2:
			p.Min = time.Duration(v.int())
		case 3:
			p.Max = time.Duration(v.int())
		case 4:
			p.ResetAfter = time.Duration(v.int())
		case 5:
			p.Limit = int(v.int())
		case 6:
			p.Window = time.Duration(v.int())
		case 7:
			p.RetryEvery = time.Duration(v.int())
		}
	})
	return p
}

// Hash is equal for equal specs, and for others different but for luck.
func (s *Spec) Hash() uint64 { return Sum(s.Append(nil)) }

// Sum is FNV-1a of b.
func Sum(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// Check says what a keeper would refuse about s, and nil if nothing. What s
// names becomes directories, so names are judged here, on both sides.
func (s *Spec) Check() error {
	switch {
	case !Label(s.ID):
		return errors.New("id " + strconv.Quote(s.ID) + ": want 1 to 63 of a-z 0-9 - _ ., not beginning with a dot")
	case len(s.Argv) == 0 || !strings.HasPrefix(s.Argv[0], "/"):
		return errors.New(s.ID + ": argv: want an absolute path first")
	case s.Dir != "" && !strings.HasPrefix(s.Dir, "/"):
		return errors.New(s.ID + ": dir " + strconv.Quote(s.Dir) + ": want an absolute path")
	case s.LogFile != "" && !strings.HasPrefix(s.LogFile, "/"):
		return errors.New(s.ID + ": log file " + strconv.Quote(s.LogFile) + ": want an absolute path")
	case len(s.LogFile) > 1024 || len(s.Cgroup) > 255:
		return errors.New(s.ID + ": log file or cgroup: name too long")
	case len(s.Meta) > MaxMeta:
		return errors.New(s.ID + ": meta: more than 4 KiB")
	case len(s.FDs) > MaxFDs:
		return errors.New(s.ID + ": fds: more than 64")
	case s.Restart.When > restart.Never:
		return errors.New(s.ID + ": restart: unknown policy")
	case s.Signal < 0 || s.Signal > 64:
		return errors.New(s.ID + ": stop signal " + strconv.Itoa(int(s.Signal)) + ": want 1 to 64")
	}
	if s.Cgroup != "" {
		for part := range strings.SplitSeq(s.Cgroup, "/") {
			if !Label(part) {
				return errors.New(s.ID + ": cgroup " + strconv.Quote(s.Cgroup) + ": want names joined by slashes")
			}
		}
	}
	return s.checkStrings()
}

// checkStrings finds what execve(2) would cut short, and what does not fit.
func (s *Spec) checkStrings() error {
	for _, list := range [][]string{s.Argv, s.Env, s.FDs, {s.Dir, s.LogFile}} {
		for _, v := range list {
			if strings.IndexByte(v, 0) >= 0 {
				return errors.New(s.ID + ": a zero byte in argv, env, dir, log file or the name of a descriptor")
			}
		}
	}
	for _, name := range s.FDs {
		if name == "" || strings.ContainsAny(name, ":\n") {
			return errors.New(s.ID + ": descriptor name " + strconv.Quote(name) + ": want no colon and no line break")
		}
	}
	if n := len(s.Append(nil)); n > MaxSpec {
		return errors.New(s.ID + ": spec of " + strconv.Itoa(n) + " bytes, the bound is " + strconv.Itoa(MaxSpec) + ": shorten argv or env")
	}
	return nil
}

// Label reports whether s may be a name of a directory: what is no label could
// climb out of it.
func Label(s string) bool {
	if s == "" || len(s) > MaxID || s[0] == '.' {
		return false
	}
	for _, c := range []byte(s) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
		if !ok {
			return false
		}
	}
	return true
}
