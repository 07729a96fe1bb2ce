package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/backstay/backstay"
)

// ReleaseOf returns what f says of the release of service: its definition with
// ${version} expanded, and nothing of what the host or the record of releases
// adds (Seq, Digest, Executable, EnvFiles, Secrets, At). Argv, Dir and the values
// of Env still hold what belongs to an instance, as the file writes it: one
// [Expand] of each is what runs. An empty version is that of the file.
func ReleaseOf(f *File, service, version string) (backstay.Release, error) {
	s, ok := f.Services[service]
	if !ok {
		return backstay.Release{}, fmt.Errorf("make release: there is no service %s", service)
	}
	version = cmp.Or(version, s.Version)
	r := backstay.Release{Service: service, Version: version, Ready: s.Ready}
	r.Exec = backstay.Exec{
		Argv: each(s.Run.Exec, version), Dir: expandVersion(s.Run.Dir, version),
		User: s.Run.User, Group: s.Run.Group, Groups: slices.Clone(s.Run.Groups),
		Umask: uint32(s.Run.Umask), Nice: s.Run.Nice, OOMScoreAdj: s.Run.OOMScoreAdj,
	}
	for name, value := range s.Run.Env {
		set(&r.Exec.Env, name, expandVersion(value, version))
	}
	for name, limit := range s.Run.Rlimits {
		set(&r.Exec.Rlimits, name, int64(limit))
	}
	for name, port := range s.Ports {
		set(&r.Ports, name, backstay.Port(port))
	}
	for _, file := range s.Run.EnvFile {
		path, err := Expand(file, func(string, string) (string, error) { return version, nil })
		if err != nil {
			return backstay.Release{}, fmt.Errorf("make release: %w", err)
		}
		r.Exec.EnvFile = append(r.Exec.EnvFile, path)
	}
	return r, nil
}

// set puts value into a map that is made when it is needed: equal definitions
// are equal as JSON, too.
func set[V any](m *map[string]V, name string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[name] = value
}

func each(list []string, version string) []string {
	var out []string
	for _, s := range list {
		out = append(out, expandVersion(s, version))
	}
	return out
}

// SecretsOf returns the names of the secrets that texts expand, in order.
func SecretsOf(texts ...string) []string {
	names := map[string]bool{}
	for _, text := range texts {
		parts, err := split(text)
		for _, p := range parts {
			if err == nil && p.kind == "secret" {
				names[p.name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// SecretsOf returns the names of the secrets that service is given, in order.
func (f *File) SecretsOf(service string) []string {
	return SecretsOf(slices.Collect(maps.Values(f.Services[service].Run.Env))...)
}

// Expanded returns s with the agent's environment in its path and command. look
// is [os.LookupEnv].
func (s Secret) Expanded(look func(name string) (string, bool)) (Secret, error) {
	env := func(_, name string) (string, error) {
		value, ok := look(name)
		if !ok {
			return "", fmt.Errorf("the agent has no variable %s", name)
		}
		return value, nil
	}
	var err error
	if s.File, err = Expand(s.File, env); err != nil {
		return Secret{}, err
	}
	s.Command = slices.Clone(s.Command)
	for i := range s.Command {
		if s.Command[i], err = Expand(s.Command[i], env); err != nil {
			return Secret{}, err
		}
	}
	return s, nil
}
