package api

import (
	"context"
	"net/http"
	"time"

	"github.com/backstay/backstay"
)

// Backend is the agent as the API needs it. Every method may be called from many
// goroutines at once and ends with ctx. Errors are a *[backstay.Problem] or a
// *[Refusal]; any other is answered as an internal error and logged.
type Backend interface {
	Viewer
	Configs
	Deploys
	Operator
	Streamer

	// Metrics serves /metrics.
	Metrics() http.Handler
}

// Viewer tells what is. Nothing it does changes anything.
type Viewer interface {
	// Version answers at once, whatever else is going on.
	Version(ctx context.Context) (Version, error)
	// Status is the whole state at one moment, read and never guessed. What
	// cannot be read (no proxy answers) is said in it, and is no error.
	Status(ctx context.Context) (Status, error)
	// Recent returns the newest events about ref and what is below it, newest
	// first, at most limit: for [Why]. An empty ref is all of them.
	Recent(ctx context.Context, ref backstay.Ref, limit int) ([]backstay.Event, error)
	// Releases returns the kept releases of a service, newest first.
	Releases(ctx context.Context, service string) ([]Release, error)
	// History returns the deploys of a service, newest first.
	History(ctx context.Context, service string) ([]Deploy, error)
	// Diff returns what differs between two releases (shop@13) or two configs:
	// a digest or its beginning, running, last_good, file.
	Diff(ctx context.Context, from, to string) ([]Change, error)
}

// Configs is about the file.
type Configs interface {
	// Configs returns the kept good files, newest first.
	Configs(ctx context.Context) ([]Config, error)
	// Validate returns nil for a file without mistakes, else a *[Refusal].
	Validate(ctx context.Context, ask ConfigAsk) error
	// Plan says what Apply of text would change, and changes nothing. A file
	// with mistakes is a *[Refusal].
	Plan(ctx context.Context, ask ConfigAsk) (Plan, error)
	// Apply returns when text is accepted and durable; what becomes of the releases
	// that it wants is told by Outcome, and on the way there by Watch. A file with mistakes is a *[Refusal].
	Apply(ctx context.Context, ask ConfigAsk) (Applied, error)
}

// Deploys is about releases coming in. All but Watch return once the decision is
// durable; what follows is seen by Watch.
type Deploys interface {
	Deploy(ctx context.Context, service string, ask DeployAsk, by Actor) (Deploy, error)
	// Rollback goes to the last good release before this one, or to the one of
	// number to if it is not 0.
	Rollback(ctx context.Context, service string, to int, by Actor) (Deploy, error)
	Pause(ctx context.Context, service string, by Actor) (Deploy, error)
	Resume(ctx context.Context, service string, by Actor) (Deploy, error)
	Abort(ctx context.Context, service string, by Actor) (Deploy, error)
	// Outcome returns what has become of a release, which was wanted when after was
	// the newest deploy that had ended. Until that is decided it names the deploy
	// under way; where one is about to begin it waits a while for it.
	Outcome(ctx context.Context, service, release, after string) (Wanted, error)
	// Watch calls line with what a deploy has told after line number after, as
	// far as it is kept, then with what it tells. It returns nil after the line
	// with the final state. An empty id is the newest deploy of the service.
	Watch(ctx context.Context, service, id string, after int, line func(Progress) error) error
}

// Operator changes what runs without changing the file. A ref is service/NAME or
// instance/ID.
type Operator interface {
	// Scale sets the override of replicas; nil ends it.
	Scale(ctx context.Context, service string, replicas *int, by Actor) (Done, error)
	Start(ctx context.Context, ref backstay.Ref, by Actor) (Done, error)
	Stop(ctx context.Context, ref backstay.Ref, by Actor) (Done, error)
	// Restart of a service is a roll to the same release: Done.Deploy is set.
	Restart(ctx context.Context, ref backstay.Ref, by Actor) (Done, error)
	// Drain returns when every live proxy has acknowledged that nothing new is
	// sent there.
	Drain(ctx context.Context, ref backstay.Ref, by Actor) (Done, error)
	Undrain(ctx context.Context, ref backstay.Ref, by Actor) (Done, error)
	// Down drains and stops every service and leaves a mark that start and apply
	// end. Asked again it goes on. It returns nil when nothing runs any more.
	Down(ctx context.Context, by Actor, line func(Progress) error) error
}

// Streamer sends what happens. An error of the function ends the stream and is
// returned.
type Streamer interface {
	Events(ctx context.Context, q EventQuery, event func(backstay.Event) error) error
	// Logs sends lines the oldest first, and those of each instance in its order.
	Logs(ctx context.Context, q LogQuery, line func(LogLine) error) error
}

// Actor is who asks, as the kernel says of the other end of the socket.
type Actor struct {
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
	PID  int32  `json:"pid"`
	Name string `json:"name"` // of the user; its number where it has none
}

// ConfigAsk is a file that someone wants in force.
type ConfigAsk struct {
	Name    string // as it is called in messages: /etc/backstay/backstay.yaml
	Text    []byte
	IfMatch string // digest that must be in force; empty is any
	StopAll bool   // a file without services is meant: all that runs is stopped
	Gap     bool   // a route may lead to a service that is not ready yet
	By      Actor
}

// DeployAsk says what to deploy. Empty means the release that is wanted anyway.
type DeployAsk struct {
	Version   string `json:"version,omitempty"`   // becomes an override of version:; that of the file ends it
	Reset     bool   `json:"reset,omitempty"`     // the override of version: ends; no Version then
	Again     bool   `json:"again,omitempty"`     // a release that was rolled back is tried once more
	Supersede bool   `json:"supersede,omitempty"` // a running deploy gives way
}

// EventQuery says which events to send.
type EventQuery struct {
	After  string       // id of the last one known; empty is from Since
	Since  time.Time    // zero is all that are kept
	Ref    backstay.Ref // only about this and what is below it
	Tail   int          // at most this many of the past, the newest; 0 is all
	Follow bool         // go on with what happens
}

// LogQuery says which lines of logs to send.
type LogQuery struct {
	Ref    backstay.Ref // service/NAME, instance/ID or role/NAME
	Tail   int          // at most this many of the past for each instance; 0 is all
	Since  time.Time    // lines not older than this; zero is all
	Follow bool
}

// LogLine is one line that an instance has printed.
type LogLine struct {
	At       time.Time `json:"at,omitzero"` // zero: nobody knows
	Service  string    `json:"service"`
	Instance string    `json:"instance"`
	Stream   string    `json:"stream"` // stdout, stderr
	Text     string    `json:"text"`   // without its newline; what is not UTF-8 is replaced
}

// Version is what answers at the socket.
type Version struct {
	Version string    `json:"version"`
	API     string    `json:"api"` // v1
	Node    string    `json:"node"`
	PID     int       `json:"pid"`
	UID     int       `json:"uid"`
	Since   time.Time `json:"since"`
}

// Refusal is a [backstay.Problem] with the mistakes it is made of.
type Refusal struct {
	backstay.Problem

	Mistakes []backstay.Problem `json:"mistakes,omitempty"`
	// Text is all mistakes for people, each with its line and a caret.
	Text string `json:"text,omitempty"`
}

// Error returns the mistakes for people, else the problem on one line.
func (r *Refusal) Error() string {
	if r.Text != "" {
		return r.Text
	}
	return r.Problem.Error()
}

// Unwrap returns the problem, so that [errors.As] finds it.
func (r *Refusal) Unwrap() error { return &r.Problem }
