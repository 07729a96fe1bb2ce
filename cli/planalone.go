package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/daemon"
)

// planAlone compares text with the last good file of the state directory: what
// an agent would begin with.
func (a *app) planAlone(name string, text []byte) (api.Plan, error) {
	next, err := config.Parse(name, text)
	if err != nil {
		return api.Plan{}, err
	}
	p := api.Plan{To: digest(text), Changes: []api.Change{}}
	oldName, oldText, err := daemon.LastGood(a.dirs)
	var old *config.File
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.say("no agent answers and no file was ever in force: everything is new")
	case err != nil:
		return p, fmt.Errorf("read the last good file: %w", err)
	default:
		a.say("no agent answers; compared with the last good file")
		if old, err = config.Parse(oldName, oldText); err != nil {
			return p, fmt.Errorf("the last good file cannot be read any more: %w", err)
		}
		p.From = digest(oldText)
	}
	for _, c := range config.Diff(old, next) {
		p.Changes = append(p.Changes, api.Change{
			Key: c.Key, From: c.From, To: c.To, Tag: api.Tag(c.Tag), Service: c.Service, Text: c.Text, Traffic: c.Traffic, Where: c.Where,
		})
	}
	return p, nil
}

// digest names a text as the agent does: the first 8 of its sha256.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:8]
}
