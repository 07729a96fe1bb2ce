package api

import "github.com/backstay/backstay"

// config proves which file is in force, and why a newer one is not.
func (f Facts) config() Proof {
	c := f.Status.Config
	p := Proof{State: "in force", Since: c.AppliedAt, What: "the file " + c.Digest + " of " + c.File + " is in force"}
	switch {
	case c.Digest == "":
		p.State, p.What = "none", "no file is in force"
	case c.Source == "last_good":
		p.State, p.What = "last good", p.What+": it is the last good one"
	}
	if c.Digest != "" {
		p.Because = append(p.Because, Fact{Text: "it was put in force", By: c.By, At: c.AppliedAt, Where: c.File})
	}
	if c.Refused == nil {
		return p
	}
	if c.Digest != "" {
		p.What += ", and a newer one is refused"
	}
	first := firstMistake(c.Refused)
	p.Because = append([]Fact{
		{Text: "refused: " + c.Refused.What, At: c.RefusedAt}, {Text: first.What, Where: first.Where},
	}, p.Because...)
	if first.What == c.Refused.What { // it is about the file as a whole
		p.Because = append(p.Because[:1], p.Because[2:]...)
	}
	if first.Do != "" {
		p.Do = append(p.Do, first.Do)
	}
	p.Do = append(p.Do, "backstay validate "+c.File, "backstay apply "+c.File)
	return p
}

// firstMistake is what to put right first.
func firstMistake(r *Refusal) backstay.Problem {
	if len(r.Mistakes) > 0 {
		return r.Mistakes[0]
	}
	return r.Problem
}
