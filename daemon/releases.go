package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/host/proc"
)

// maker turns definitions into releases: it adds what cannot be read from the
// file, the digests of all that a release is made of.
type maker struct {
	secrets *secrets // those in force
	users   *proc.Users

	mu   sync.Mutex // guards sums
	sums map[string]summed
}

// summed is a digest of a file and what it was when it was read.
type summed struct {
	info os.FileInfo
	sum  string
}

func newMaker(s *secrets, u *proc.Users) *maker {
	return &maker{secrets: s, users: u, sums: map[string]summed{}}
}

// release returns what f defines for service, at version if that is not empty,
// with the contents that secrets has.
// It has no number yet: equal digests are one release.
func (m *maker) release(f *config.File, secrets *secrets, service, version string) (backstay.Release, error) {
	rel, err := config.ReleaseOf(f, service, version)
	if err != nil {
		return rel, fmt.Errorf("release of %s: %w", service, err)
	}
	if rel.Executable, err = m.sum(rel.Exec.Argv[0]); err != nil {
		return rel, notStartable(service, rel.Exec.Argv[0], err)
	}
	rel.EnvFiles = map[string][]byte{}
	for _, file := range rel.Exec.EnvFile {
		if rel.EnvFiles[file], err = os.ReadFile(file); err != nil {
			return rel, notStartable(service, file, err)
		}
		if _, err := config.ParseEnvFile(rel.EnvFiles[file]); err != nil {
			return rel, notStartable(service, file, err)
		}
	}
	rel.Secrets = map[string]string{}
	for _, name := range f.SecretsOf(service) {
		if rel.Secrets[name], err = secrets.digest(name); err != nil {
			return rel, notStartable(service, "secrets."+name, err)
		}
	}
	rel.Digest, err = digest(rel)
	rel.At = time.Now()
	return rel, err
}

func notStartable(service, where string, err error) error {
	return &backstay.Problem{
		Code: "release_not_startable", What: "a release of " + service + " cannot be made: " + err.Error(), Where: where,
		Do: "put the file there, or change the file's path; nothing has changed",
	}
}

// digest identifies a release by its content: who made it when does not count.
func digest(rel backstay.Release) (string, error) {
	rel.Seq, rel.Digest, rel.At, rel.By, rel.Why = 0, "", time.Time{}, "", ""
	text, err := json.Marshal(rel)
	if err != nil {
		return "", fmt.Errorf("digest of release: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// sum returns the sha256 of the file at path. A file that has not changed since
// it was last asked for is not read again.
func (m *maker) sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read executable: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read executable: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.sums[path]; ok && os.SameFile(s.info, info) && s.info.Size() == info.Size() && s.info.ModTime().Equal(info.ModTime()) {
		return s.sum, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read executable: %w", err)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	m.sums[path] = summed{info, sum}
	return sum, nil
}

// Startable implements [deploy.Check]: whether what a release was made of is
// still there. Secrets count as they are today; env files are kept in the
// release.
func (m *maker) Startable(rel backstay.Release) error {
	if len(rel.Exec.Argv) == 0 {
		return errors.New("what it was made of is not known any more: its file could not be read")
	}
	sum, err := m.sum(rel.Exec.Argv[0])
	if err != nil {
		return err
	}
	if sum != rel.Executable {
		return fmt.Errorf("%s was overwritten since %s was made; put each version at its own path, as in /srv/app/${version}/bin", rel.Exec.Argv[0], rel.ID())
	}
	if err := m.accounts(rel); err != nil {
		return err
	}
	for name := range rel.Secrets {
		if _, err := m.secrets.content(name); err != nil {
			return err
		}
	}
	return nil
}

// accounts checks that the host still has whom rel runs as, where that can be
// somebody else.
func (m *maker) accounts(rel backstay.Release) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if rel.Exec.User != "" {
		if _, err := m.users.User(rel.Exec.User); err != nil {
			return fmt.Errorf("find user: %w", err)
		}
	}
	for _, group := range append([]string{rel.Exec.Group}, rel.Exec.Groups...) {
		if group == "" {
			continue
		}
		if _, err := m.users.Group(group); err != nil {
			return fmt.Errorf("find group: %w", err)
		}
	}
	return nil
}
