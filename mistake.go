package backstay

// Mistake is one thing wrong with a configuration. A room's Check returns all
// of them at once; config adds the file, the line and a caret.
type Mistake struct {
	Code string // which mistake this is, for programs: unknown_key, no_unit
	Key  string // where, below the room's own part of the file: public.advert_int
	What string // what is wrong with the value
	Try  string // a value that would do, where there is one

	Known []string // what there is, where What is about a name or word that is not
}

// Error returns m on one line.
func (m Mistake) Error() string {
	s := m.What
	if m.Key != "" {
		s = m.Key + ": " + s
	}
	if m.Try != "" {
		s += "; try " + m.Try
	}
	return s
}

// Problem is why something that was asked for is not done, told so that whoever
// asked can go on. Every error that leaves a process is one: in the API as JSON,
// on the command line as text with an exit status that follows from Code.
type Problem struct {
	Code  string `json:"code"`            // for programs, from the list in [Codes]; never changes its meaning
	What  string `json:"what"`            // what is wrong, with the value that is
	Where string `json:"where,omitempty"` // file:line:col, kind/name, flag, or path of the request
	Why   string `json:"why,omitempty"`   // the rule or fact behind it
	Do    string `json:"do"`              // what to do about it
}

// Error returns p on one line.
func (p *Problem) Error() string {
	s := p.What
	if p.Where != "" {
		s = p.Where + ": " + s
	}
	if p.Why != "" {
		s += " (" + p.Why + ")"
	}
	if p.Do != "" {
		s += "; " + p.Do
	}
	return s
}

// ExitCode is the status a command ends with. They are the same for every
// command and never change their meaning.
type ExitCode int

// The exit codes of the command line.
const (
	ExitOK         ExitCode = 0  // done and drained
	ExitFailed     ExitCode = 1  // failed, nothing changed
	ExitUsage      ExitCode = 2  // wrong usage or an invalid file
	ExitChanges    ExitCode = 3  // plan has changes
	ExitDegraded   ExitCode = 4  // done or running, and something of it is not as asked
	ExitNotFound   ExitCode = 5  // there is nothing of that name
	ExitDenied     ExitCode = 6  // not allowed to this user
	ExitRolledBack ExitCode = 7  // the deploy was undone
	ExitTimeout    ExitCode = 8  // waited long enough; it goes on
	ExitPerson     ExitCode = 9  // a person is needed: paused, approval
	ExitRefused    ExitCode = 10 // refused by a guard
)
