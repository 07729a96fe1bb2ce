package daemon

import "path/filepath"

// LastGood returns the newest file that was ever in force with these
// directories, for those who have no agent to ask.
func LastGood(d Dirs) (name string, text []byte, err error) {
	k, text, err := configs{dir: filepath.Join(d.State, "configs")}.last()
	return k.Name, text, err
}
