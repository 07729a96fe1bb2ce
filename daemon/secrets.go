package daemon

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/internal/atomicfile"
)

// maxSecret bounds a secret, in bytes: a key or a password is far below.
const maxSecret = 64 << 10

// secrets holds the contents of what the file calls secrets. They leave it into
// environments only; what is kept on disk is a digest under a key of this host.
type secrets struct {
	key []byte

	mu   sync.Mutex        // guards what is below
	text map[string]string // by name
}

// openSecrets reads the key of digests, or makes it. One that is damaged is put
// aside: under another one every secret looks changed at the next apply, and
// nothing is lost.
func openSecrets(state string) (*secrets, error) {
	path := filepath.Join(state, "identity", "digest.key")
	key, err := keyOr(path, sha256.Size, func() ([]byte, error) {
		key := make([]byte, sha256.Size)
		_, _ = rand.Read(key) // never fails
		return key, atomicfile.WriteFile(path, key, 0o600)
	})
	if err != nil {
		return nil, fmt.Errorf("key of secrets: %w", err)
	}
	return &secrets{key: key, text: map[string]string{}}, nil
}

// secretAt is where a secret is, in the words of the file.
const secretAt = "secrets."

// read returns what f's secrets hold now, under the same key, and why others
// cannot be read, by name. Nothing of s changes.
func (s *secrets) read(ctx context.Context, f *config.File) (next *secrets, unread map[string]error) {
	next, unread = &secrets{key: s.key, text: map[string]string{}}, map[string]error{}
	for _, name := range sortedKeys(f.Secrets) {
		v, err := read(ctx, f.Secrets[name])
		if err != nil {
			unread[name] = &backstay.Problem{
				Code: "secret_unreadable", What: "secret " + name + ": " + err.Error(), Where: secretAt + name,
				Do: "make it readable to the agent; nothing has changed",
			}
			continue
		}
		next.text[name] = v
	}
	return next, unread
}

// take takes the contents that next has. A secret that next has not stays:
// what runs, and what is gone back to, may have been made with it.
func (s *secrets) take(next *secrets) {
	next.mu.Lock()
	text := maps.Clone(next.text)
	next.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.text, text)
}

// fill adds a secret that could not be read before.
func (s *secrets) fill(name, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text[name] = text
}

func read(ctx context.Context, from config.Secret) (string, error) {
	from, err := from.Expanded(os.LookupEnv)
	if err != nil {
		return "", err
	}
	switch {
	case from.Env != "":
		v, ok := os.LookupEnv(from.Env)
		if !ok {
			return "", fmt.Errorf("variable %s is not in the agent's environment", from.Env)
		}
		return v, nil
	case len(from.Command) > 0:
		out, err := proc.Output(ctx, from.Command, maxSecret)
		return strings.TrimSuffix(string(out), "\n"), err //nolint:wrapcheck // it tells its story
	case from.Credential != "":
		from.File = filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), from.Credential)
	}
	info, err := os.Stat(from.File)
	if err != nil {
		return "", fmt.Errorf("read file: %w", err)
	}
	if info.Size() > maxSecret {
		return "", fmt.Errorf("read file %s: it is larger than %d bytes", from.File, maxSecret)
	}
	text, err := os.ReadFile(from.File)
	if err != nil {
		return "", fmt.Errorf("read file: %w", err)
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}

// content returns the secret called name.
func (s *secrets) content(name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.text[name]
	if !ok {
		return "", fmt.Errorf("there is no secret %s", name)
	}
	return v, nil
}

// digest tells whether a secret has changed, and nothing else about it.
func (s *secrets) digest(name string) (string, error) {
	v, err := s.content(name)
	if err != nil {
		return "", err
	}
	h := hmac.New(sha256.New, s.key)
	_, _ = h.Write([]byte(name + "\x00" + v)) // never fails
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
