package api

import (
	"net/http"
)

// bodyKind says what an endpoint takes as its body.
type bodyKind int

const (
	noBody bodyKind = iota
	jsonBody
	fileBody // the text of a file, as it lies on disk
)

// String returns what to send.
func (k bodyKind) String() string {
	return [...]string{"nothing", "a JSON object", "the text of the file"}[k]
}

// types are the media types that a body may be declared as.
func (k bodyKind) types() []string {
	if k == fileBody {
		return []string{"application/yaml", "text/plain", "application/octet-stream"}
	}
	return []string{"application/json"}
}

// endpoint is one path of the API with one method.
type endpoint struct {
	method, path string
	params       []string
	body         bodyKind
	owner        bool   // only root and the agent's own user
	takes        string // fields of the body, for people
	text         string
	do           func(*server, *call) error
}

// endpoints is the whole API.
var endpoints []endpoint

func init() {
	endpoints = []endpoint{
		{method: http.MethodGet, path: "/v1", text: "this list", do: (*server).list},
		{method: http.MethodGet, path: "/v1/version", text: "what answers here", do: (*server).version},
		{method: http.MethodGet, path: "/v1/status", text: "the whole state", do: (*server).status},
		{method: http.MethodGet, path: "/v1/why", params: []string{"ref"}, text: "the shortest proof of a state: ref=service/shop, instance/ID, frontend/NAME, release/shop@14, deploy/shop, role/proxy, config/file", do: (*server).why},
		{method: http.MethodGet, path: "/v1/events", params: []string{"after", "since", "ref", "tail", "follow"}, text: "what changed, a line each; after=ID goes on", do: (*server).events},
		{method: http.MethodGet, path: "/v1/logs", params: []string{"ref", "tail", "since", "follow"}, text: "what instances printed, a line each, the oldest first", do: (*server).logs},
		{method: http.MethodGet, path: "/v1/configs", text: "the files that are kept", do: (*server).configs},
		{method: http.MethodGet, path: "/v1/diff", params: []string{"from", "to"}, text: "what differs between two releases or two files", do: (*server).diff},
		{method: http.MethodPost, path: "/v1/validate", params: []string{"name"}, body: fileBody, text: "every mistake in a file", do: (*server).validate},
		{method: http.MethodPost, path: "/v1/plan", params: []string{"name"}, body: fileBody, text: "what a file would change", do: (*server).plan},
		{method: http.MethodPut, path: "/v1/config", params: []string{"name", "stop_all", "gap"}, body: fileBody, owner: true, text: "put a file in force; If-Match: the digest it follows; stop_all=true: it may be without services; gap=true: it may lead to a service that is not ready", do: (*server).apply},
		{method: http.MethodGet, path: "/v1/services/{service}/releases", text: "its kept releases, newest first", do: (*server).releases},
		{method: http.MethodGet, path: "/v1/services/{service}/history", text: "its deploys, newest first", do: (*server).history},
		{method: http.MethodGet, path: "/v1/services/{service}/outcome", params: []string{"release", "after"}, text: "what has become of a release that a file wants, or the deploy under way before that; after=ID: the newest deploy that had ended when it was wanted", do: (*server).outcome},
		{method: http.MethodGet, path: "/v1/services/{service}/progress", params: []string{"deploy", "after"}, text: "what a deploy tells, a line each, until it ends; after=N goes on", do: (*server).progress},
		{method: http.MethodPost, path: "/v1/services/{service}/deploy", body: jsonBody, takes: "version reset again supersede", text: "bring in a release", do: (*server).deploy},
		{method: http.MethodPost, path: "/v1/services/{service}/rollback", body: jsonBody, takes: "to", text: "go back to a good release", do: (*server).rollback},
		{method: http.MethodPost, path: "/v1/services/{service}/pause", text: "hold the deploy", do: onDeploy(Backend.Pause)},
		{method: http.MethodPost, path: "/v1/services/{service}/resume", text: "let the deploy go on", do: onDeploy(Backend.Resume)},
		{method: http.MethodPost, path: "/v1/services/{service}/abort", text: "undo the deploy", do: onDeploy(Backend.Abort)},
		{method: http.MethodPut, path: "/v1/services/{service}/scale", body: jsonBody, takes: "replicas", text: "override the number of instances; null ends it", do: (*server).scale},
		{method: http.MethodPost, path: "/v1/services/{service}/start", text: "end a stop", do: onThing("service", Backend.Start)},
		{method: http.MethodPost, path: "/v1/services/{service}/stop", text: "drain and stop it, and keep it stopped", do: onThing("service", Backend.Stop)},
		{method: http.MethodPost, path: "/v1/services/{service}/restart", text: "roll to the same release with new instances", do: onThing("service", Backend.Restart)},
		{method: http.MethodPost, path: "/v1/services/{service}/drain", text: "send nothing new to any of its instances", do: onThing("service", Backend.Drain)},
		{method: http.MethodPost, path: "/v1/services/{service}/undrain", text: "end a drain", do: onThing("service", Backend.Undrain)},
		{method: http.MethodPost, path: "/v1/instances/{instance}/start", text: "try now, without waiting for the back-off", do: onThing("instance", Backend.Start)},
		{method: http.MethodPost, path: "/v1/instances/{instance}/stop", text: "always refused: its service keeps its number of instances", do: onThing("instance", Backend.Stop)},
		{method: http.MethodPost, path: "/v1/instances/{instance}/restart", text: "start it anew in place, under the same name", do: onThing("instance", Backend.Restart)},
		{method: http.MethodPost, path: "/v1/instances/{instance}/drain", text: "send nothing new there", do: onThing("instance", Backend.Drain)},
		{method: http.MethodPost, path: "/v1/instances/{instance}/undrain", text: "end a drain", do: onThing("instance", Backend.Undrain)},
		{method: http.MethodPost, path: "/v1/down", text: "drain and stop everything, a line for each step", do: (*server).down},
		{method: http.MethodGet, path: "/metrics", text: "for Prometheus", do: (*server).metrics},
	}
}

// Endpoint is a path of the API, as GET /v1 and the reference list it.
type Endpoint struct {
	Method string   `json:"method"`
	Path   string   `json:"path"`
	Params []string `json:"params,omitempty"`
	Body   string   `json:"body,omitempty"`
	Owner  bool     `json:"owner,omitempty"` // only for root and the agent's own user
	Text   string   `json:"text"`
}

// Endpoints returns every path of the API.
func Endpoints() []Endpoint {
	all := make([]Endpoint, len(endpoints))
	for i, e := range endpoints {
		all[i] = Endpoint{Method: e.method, Path: e.path, Params: e.params, Owner: e.owner, Text: e.text}
		if e.body != noBody {
			all[i].Body = e.body.String()
		}
		if e.takes != "" {
			all[i].Body += ": " + e.takes
		}
	}
	return all
}

func (s *server) list(c *call) error { return c.answer(Endpoints()) }
