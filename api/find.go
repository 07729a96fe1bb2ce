package api

// Service returns the service called name; without one, the zero Service, which
// has no name.
func (st Status) Service(name string) Service {
	for _, s := range st.Services {
		if s.Name == name {
			return s
		}
	}
	return Service{}
}

// Role returns the role called name; without one, the zero Role, which does not
// run.
func (st Status) Role(name string) Role {
	for _, r := range st.Roles {
		if r.Name == name {
			return r
		}
	}
	return Role{}
}
