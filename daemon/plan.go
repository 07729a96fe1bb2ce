package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/deploy"
)

// planOf says what d would change over before, in words.
func (a *agent) planOf(before, d *desired) api.Plan {
	p := api.Plan{To: d.kept.Digest, Changes: []api.Change{}}
	var old *config.File
	if before != nil {
		p.From, p.Generation, old = before.kept.Digest, before.kept.Gen, before.file
	}
	for _, c := range config.Diff(old, d.file) {
		p.Changes = append(p.Changes, changeOf(c))
	}
	for _, name := range sortedKeys(d.wants) {
		if before == nil || d.late[name] != nil {
			continue
		}
		if was, ok := before.wants[name]; ok {
			p.Changes = append(p.Changes, contentsChanged(name, was.Release, d.wants[name].Release)...)
		}
	}
	p.Also = a.also(d)
	names, by := a.overrides.all()
	for _, name := range names {
		p.Overrides = append(p.Overrides, overridesOf(name, by[name], d.file.Services[name])...)
	}
	for _, i := range a.supervise.Instances() {
		if drainedByHand(i) {
			p.Overrides = append(p.Overrides, drainOverride(i, a.overrides.drainOf(i.ID)))
		}
	}
	for _, name := range sortedKeys(d.late) {
		p.Notes = append(p.Notes, name+": "+d.late[name].Error())
	}
	p.Notes = append(p.Notes, a.undone(d)...)
	return p
}

// also is what applying d does whatever it changes: it ends a down, and has what
// was refused tried again.
func (a *agent) also(d *desired) (all []string) {
	if m := a.down(); m != nil {
		all = append(all, "starts what down of "+m.By+" has stopped; until it is ready its requests are answered 503")
	}
	for _, name := range sortedKeys(d.wants) {
		n, _ := a.deploy.Status(name)
		rel, ok := a.deploy.Find(name, d.wants[name].Release.Digest)
		if ok && n.State == deploy.Refused && n.To == rel.Seq {
			all = append(all, fmt.Sprintf("tries to deploy %s again, which was refused: %s", rel.ID(), n.Reason))
		}
	}
	return all
}

// undone says which releases that d wants were rolled back: a file does not have
// them tried again.
func (a *agent) undone(d *desired) (notes []string) {
	for _, name := range sortedKeys(d.wants) {
		for _, r := range a.deploy.Releases(name) {
			if r.Digest == d.wants[name].Release.Digest && r.Undone != "" && !r.Current {
				notes = append(notes, fmt.Sprintf("%s: %s was rolled back (%s) and is not tried again by itself: backstay deploy %s --again", name, r.ID(), r.Undone, name))
			}
		}
	}
	return notes
}

func changeOf(c config.Change) api.Change {
	return api.Change{
		Key: c.Key, From: c.From, To: c.To, Tag: api.Tag(c.Tag), Service: c.Service, Text: c.Text, Traffic: c.Traffic, Where: c.Where,
	}
}

// contentsChanged says what has changed in the files that a service is made of:
// it rolls for them though its text is the same. They are shown by the
// beginnings of digests, those of secrets under the key of this host.
func contentsChanged(service string, was, is backstay.Release) (out []api.Change) {
	add := func(key, what, from, to string) {
		if from == to || from == "" || to == "" { // what has come or gone is in the text
			return
		}
		out = append(out, api.Change{
			Key: "services." + service + "." + key, From: short(from), To: short(to), Tag: api.Roll, Service: service,
			Text: fmt.Sprintf("%s: the contents of %s have changed", service, what), Traffic: "rolls " + service,
		})
	}
	if len(was.Exec.Argv) > 0 && len(is.Exec.Argv) > 0 && was.Exec.Argv[0] == is.Exec.Argv[0] {
		add("run.exec", is.Exec.Argv[0], was.Executable, is.Executable)
	}
	for _, file := range sortedKeys(is.EnvFiles) {
		if before, ok := was.EnvFiles[file]; ok {
			add("run.env_file", file, sumOf(before), sumOf(is.EnvFiles[file]))
		}
	}
	for _, name := range sortedKeys(is.Secrets) {
		add("run.env", "secret "+name, was.Secrets[name], is.Secrets[name])
	}
	return out
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// short is the beginning of a digest: enough to tell two apart.
func short(digest string) string { return digest[:min(len(digest), 8)] }
