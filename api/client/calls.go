package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// Version returns what answers.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	return get[api.Version](ctx, c, "/v1/version", nil)
}

// Status returns the whole state.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	return get[api.Status](ctx, c, "/v1/status", nil)
}

// Why returns the proof of the state of what ref, or a bare name, points at.
func (c *Client) Why(ctx context.Context, ref string) (api.Proof, error) {
	return get[api.Proof](ctx, c, "/v1/why", url.Values{"ref": {ref}})
}

// Configs returns the kept files, newest first.
func (c *Client) Configs(ctx context.Context) ([]api.Config, error) {
	return get[[]api.Config](ctx, c, "/v1/configs", nil)
}

// Diff returns what differs between two releases or two files.
func (c *Client) Diff(ctx context.Context, from, to string) ([]api.Change, error) {
	return get[[]api.Change](ctx, c, "/v1/diff", url.Values{"from": {from}, "to": {to}})
}

// Releases returns the kept releases of a service, newest first.
func (c *Client) Releases(ctx context.Context, service string) ([]api.Release, error) {
	return get[[]api.Release](ctx, c, "/v1/services/"+service+"/releases", nil)
}

// History returns the deploys of a service, newest first.
func (c *Client) History(ctx context.Context, service string) ([]api.Deploy, error) {
	return get[[]api.Deploy](ctx, c, "/v1/services/"+service+"/history", nil)
}

// file is a request with the text of a file as its body.
func file(method, path, name string, text []byte) request {
	return request{method: method, path: path, query: url.Values{"name": {name}}, body: text, kind: "application/yaml"}
}

// Validate returns nil if the agent finds no mistake in text.
func (c *Client) Validate(ctx context.Context, name string, text []byte) error {
	_, err := call[struct{}](ctx, c, file(http.MethodPost, "/v1/validate", name, text))
	return err
}

// Plan returns what text would change.
func (c *Client) Plan(ctx context.Context, name string, text []byte) (api.Plan, error) {
	return call[api.Plan](ctx, c, file(http.MethodPost, "/v1/plan", name, text))
}

// Apply puts a file in force. Who asks is whoever runs this process.
func (c *Client) Apply(ctx context.Context, ask api.ConfigAsk) (api.Applied, error) {
	r := file(http.MethodPut, "/v1/config", ask.Name, ask.Text)
	r.ifMatch, r.once = ask.IfMatch, ask.IfMatch != "" // the first of two may be what the second finds
	if ask.StopAll {
		r.query.Set("stop_all", "true")
	}
	if ask.Gap {
		r.query.Set("gap", "true")
	}
	return call[api.Applied](ctx, c, r)
}

// Outcome returns what has become by now of a release that a file wants.
func (c *Client) Outcome(ctx context.Context, w api.Wanted) (api.Wanted, error) {
	q := url.Values{"release": {w.Release}}
	setIf(q, "after", w.After)
	return get[api.Wanted](ctx, c, "/v1/services/"+w.Service+"/outcome", q)
}

// once is a change that is sent once.
func once(path string) request { return request{method: http.MethodPost, path: path, once: true} }

// Deploy begins a deploy.
func (c *Client) Deploy(ctx context.Context, service string, ask api.DeployAsk) (api.Deploy, error) {
	return change[api.Deploy](ctx, c, once("/v1/services/"+service+"/deploy"), ask)
}

// Rollback goes to release number to, or to the last good one if it is 0.
func (c *Client) Rollback(ctx context.Context, service string, to int) (api.Deploy, error) {
	return change[api.Deploy](ctx, c, once("/v1/services/"+service+"/rollback"), map[string]int{"to": to})
}

// OnDeploy does verb, which is pause, resume or abort, to the running deploy.
func (c *Client) OnDeploy(ctx context.Context, verb, service string) (api.Deploy, error) {
	return change[api.Deploy](ctx, c, once("/v1/services/"+service+"/"+verb), nil)
}

// Scale overrides the number of instances; nil ends it.
func (c *Client) Scale(ctx context.Context, service string, replicas *int) (api.Done, error) {
	return change[api.Done](ctx, c, request{method: http.MethodPut, path: "/v1/services/" + service + "/scale"}, map[string]*int{"replicas": replicas})
}

// Do does verb, which is start, stop, restart, drain or undrain, to a service or
// an instance.
func (c *Client) Do(ctx context.Context, verb string, ref backstay.Ref) (api.Done, error) {
	r := once("/v1/" + ref.Kind() + "s/" + ref.Name() + "/" + verb)
	r.once = verb == "restart" // twice drained is drained
	return change[api.Done](ctx, c, r, nil)
}
