package api_test

import (
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/apitest"
)

// What is there is found by its whole name, and for what is not nothing is made up.
func TestServicesAndRolesAreFoundByName(t *testing.T) {
	st := apitest.World()
	for _, s := range st.Services {
		if got := st.Service(s.Name); got.Name != s.Name || got.Release != s.Release {
			t.Errorf("service %s is %+v", s.Name, got)
		}
	}
	for _, r := range st.Roles {
		if got := st.Role(r.Name); got.Name != r.Name || got.PID != r.PID {
			t.Errorf("role %s is %+v", r.Name, got)
		}
	}
	for _, name := range []string{"", "sho", "shopp", "SHOP", "proxyy"} {
		if s, r := st.Service(name), st.Role(name); s.Name != "" || s.Deploy != nil || r != (api.Role{}) {
			t.Errorf("%q is %+v and %+v", name, s, r)
		}
	}
	if len(st.Services) < 2 || len(st.Roles) < 2 {
		t.Errorf("a world of %d services and %d roles proves little", len(st.Services), len(st.Roles))
	}
}
