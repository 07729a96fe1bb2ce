package api

import (
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// Config is a good file that is kept.
type Config struct {
	Digest string    `json:"digest"`
	File   string    `json:"file"`
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
	InUse  bool      `json:"in_use"`
}

// Plan is what applying a file would do.
type Plan struct {
	From       string   `json:"from"` // digest in force
	To         string   `json:"to"`
	Generation uint64   `json:"generation"`
	Changes    []Change `json:"changes"` // in the order of the keys
	// Also is what apply does beside that, be the text the same: "starts everything:
	// all is stopped by down of ann".
	Also []string `json:"also,omitempty"`
	// Overrides stay in force over the file, or end because it says the same.
	Overrides []Override `json:"overrides,omitempty"`
	Notes     []string   `json:"notes,omitempty"` // "recreate of db: nobody answers between stop and ready"
}

// Traffic reports whether requests can notice any of the changes.
func (p Plan) Traffic() bool {
	for _, c := range p.Changes {
		if c.Traffic != "" {
			return true
		}
	}
	return false
}

// overrule takes back what changes promise that an override prevents.
func (p *Plan) overrule() {
	for n := range p.Changes {
		c := &p.Changes[n]
		key, inside := strings.CutPrefix(c.Key, "services."+c.Service+".")
		if c.Service == "" || !inside {
			continue
		}
		for _, o := range p.Overrides {
			if o.Ref == backstay.NewRef("service", c.Service) && (o.What == key || o.What == "stopped" && c.Traffic != "") {
				c.Traffic, c.Overruled = "", o.over()
			}
		}
	}
}

// over says what o does to a change of the file.
func (o Override) over() string {
	switch {
	case o.What == "stopped":
		return "it is stopped by " + o.By
	case o.Ends():
		return o.What + " is " + o.Value + " already, by " + o.By
	default:
		return o.What + " " + o.Value + " by " + o.By + " stands over it"
	}
}

// String returns o in words: "version v2 (the file says v1)". What no file says
// is named alone.
func (o Override) String() string {
	switch {
	case o.What == "stopped", o.What == "drained":
		return o.What
	case o.File == "":
		return o.What + " " + o.Value
	default:
		return o.What + " " + o.Value + " (the file says " + o.File + ")"
	}
}

// Ends reports whether o ends by itself, since the file says the same.
func (o Override) Ends() bool { return o.Value == o.File }

// Tag says how a change takes effect.
type Tag string

// The tags of the file's keys.
const (
	Live Tag = "live" // in place, no connection lost
	Roll Tag = "roll" // a new release: the service rolls
)

// Change is one difference between two files or two releases, in words.
type Change struct {
	Key     string `json:"key"` // services.shop.replicas
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	Tag     Tag    `json:"tag"`
	Service string `json:"service,omitempty"`
	Text    string `json:"text"`              // "shop: replicas 3 → 5"
	Traffic string `json:"traffic,omitempty"` // what requests notice: "rolls 3 instances, one at a time"; empty is nothing
	// Overruled is which override keeps the change from having any effect: "version
	// v2 by ann stands over it". Traffic is empty then.
	Overruled string `json:"overruled,omitempty"`
	Where     string `json:"where,omitempty"` // file:line of the new value
}

// Applied is an accepted file.
type Applied struct {
	Plan

	Unchanged bool `json:"unchanged"` // it was in force already
	// Wants are the releases that it wants, by service, and what has become of them
	// so far. What is not decided yet is asked for by Outcome.
	Wants   []Wanted `json:"wants,omitempty"`
	Deploys []Deploy `json:"deploys,omitempty"` // under way to what it wants, or before that
}

// Done is the answer to a change at run time.
type Done struct {
	Ref     backstay.Ref `json:"ref"`
	Changed bool         `json:"changed"` // false: it was so already
	Text    string       `json:"text"`    // "shop: 5 instances wanted (the file says 3)"
	Deploy  *Deploy      `json:"deploy,omitempty"`
}
