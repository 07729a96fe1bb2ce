package api

import (
	"context"
	"regexp"
	"strconv"

	"github.com/backstay/backstay"
)

// maxReplicas is the most of one service on one node.
const maxReplicas = 1000

// versionText is what may stand for ${version}: it goes into paths and argv, so
// it neither climbs nor hides.
var versionText = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$`)

// nameAndActor returns the service that the path names and who asks.
func (c *call) nameAndActor() (name string, by Actor, err error) {
	if name, err = c.name("service"); err != nil {
		return "", by, err
	}
	by, err = c.actor()
	return name, by, err
}

func (s *server) deploy(c *call) error {
	name, by, err := c.nameAndActor()
	if err != nil {
		return err
	}
	var what DeployAsk
	if err := c.decode(&what); err != nil {
		return err
	}
	if what.Version != "" && !versionText.MatchString(what.Version) {
		return badValue("version", what.Version, "use letters, digits and . _ + -, as in v2 or 1.8.2")
	}
	if what.Version != "" && what.Reset {
		return badValue("reset", "true", "leave version or reset out: they exclude each other")
	}
	return ask(c, func(ctx context.Context) (Deploy, error) { return s.Deploy(ctx, name, what, by) })
}

func badValue(field, value, do string) error {
	return &backstay.Problem{Code: "bad_value", What: "field " + field + " is " + quote(value), Where: "body." + field, Do: do}
}

func (s *server) rollback(c *call) error {
	name, by, err := c.nameAndActor()
	if err != nil {
		return err
	}
	var to struct {
		To int `json:"to"`
	}
	if err := c.decode(&to); err != nil {
		return err
	}
	if to.To < 0 {
		return badValue("to", strconv.Itoa(to.To), "send the number of a release, as in 13 for shop@13, or 0 for the last good one")
	}
	return ask(c, func(ctx context.Context) (Deploy, error) { return s.Rollback(ctx, name, to.To, by) })
}

// onDeploy is an endpoint that does f to the deploy of the service in its path.
func onDeploy(f func(b Backend, ctx context.Context, service string, by Actor) (Deploy, error)) func(*server, *call) error {
	return func(s *server, c *call) error {
		name, by, err := c.nameAndActor()
		if err != nil {
			return err
		}
		return ask(c, func(ctx context.Context) (Deploy, error) { return f(s.Backend, ctx, name, by) })
	}
}

// onThing is an endpoint that does f to what its path names.
func onThing(kind string, f func(b Backend, ctx context.Context, ref backstay.Ref, by Actor) (Done, error)) func(*server, *call) error {
	return func(s *server, c *call) error {
		name, err := c.name(kind)
		if err != nil {
			return err
		}
		by, err := c.actor()
		if err != nil {
			return err
		}
		return askFor(c, drainWithin, func(ctx context.Context) (Done, error) {
			return f(s.Backend, ctx, backstay.NewRef(kind, name), by)
		})
	}
}

func (s *server) scale(c *call) error {
	name, by, err := c.nameAndActor()
	if err != nil {
		return err
	}
	var to struct {
		Replicas *int `json:"replicas"`
	}
	if err := c.decode(&to); err != nil {
		return err
	}
	if !hasField(c.body, "replicas") {
		return &backstay.Problem{Code: "missing_field", What: "field replicas is missing", Where: "body.replicas", Do: "send a number, or null to end the override"}
	}
	if to.Replicas != nil && (*to.Replicas < 0 || *to.Replicas > maxReplicas) {
		return badValue("replicas", strconv.Itoa(*to.Replicas), "send a number from 0 to "+strconv.Itoa(maxReplicas))
	}
	return ask(c, func(ctx context.Context) (Done, error) { return s.Scale(ctx, name, to.Replicas, by) })
}

// progress sends what a deploy tells until it ends, and beyond a restart of the
// agent if the client asks again with the number of the last line.
func (s *server) progress(c *call) error {
	name, err := c.name("service")
	if err != nil {
		return err
	}
	after, err := c.number("after", maxTail)
	if err != nil {
		return err
	}
	id := c.query.Get("deploy")
	if id != "" && !backstay.ValidName(id) {
		return badParam("deploy", id, "send the id of a deploy, as history shows it, or leave it out")
	}
	return c.stream(func() error {
		return s.Watch(c.r.Context(), name, id, after, func(p Progress) error { return c.line(p) })
	})
}

func (s *server) down(c *call) error {
	by, err := c.actor()
	if err != nil {
		return err
	}
	return c.stream(func() error {
		return s.Down(c.r.Context(), by, func(p Progress) error { return c.line(p) })
	})
}
