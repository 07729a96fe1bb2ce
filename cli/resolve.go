package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// resolve returns what an argument points at, which must be of one of kinds.
func (a *app) resolve(ctx context.Context, arg string, kinds ...string) (backstay.Ref, error) {
	if strings.Contains(arg, "/") && !strings.HasPrefix(arg, "backstay/") {
		if _, err := api.CheckRef(strings.TrimRight(arg, "-")); err != nil { // it may be the beginning of a name
			return "", err
		}
	}
	st, err := a.client().Status(ctx)
	if err != nil {
		return "", err
	}
	ref, err := api.Resolve(st, arg)
	if err != nil {
		return "", err
	}
	if !slices.Contains(kinds, ref.Kind()) {
		return "", &backstay.Problem{
			Code: "bad_argument", What: "this cannot be done to " + string(ref), Where: quotedShort(arg),
			Do: "name a " + strings.Join(kinds, " or a "),
		}
	}
	return ref, nil
}
