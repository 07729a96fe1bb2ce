package config

import (
	"fmt"
	"slices"
	"strings"
)

// notices say what requests notice of a change in place, by the beginning of its
// key below the service or frontend; of several that fit, the first. gone is said
// where the key is taken out and that is another thing. Of all other keys they
// notice nothing.
type notices []struct{ key, text, gone string }

var onService = notices{
	{"probes.startup", "counts for the next start; what is ready stays so", ""},
	{"probes.readiness", "what runs is asked so at once; who fails gets no requests", "nobody is asked any more; what was not ready for it gets requests"},
	{"probes.liveness", "what runs is asked so at once; who fails is killed and started again", "nobody is asked any more; what hangs is not killed for it"},
	{"stop.drain_long", "the next stop cuts upgraded connections after it", ""},
	{"stop.drain", "the next stop cuts requests in flight after it", ""},
	{"traffic.outlier", "the next answers are judged by it; who is ejected gets no requests", ""},
}

var onFrontend = notices{
	{"bind", "listens on the new addresses first, then leaves the old ones; what is in flight ends", ""},
	{"routes", "the next request follows it; what is in flight ends as it began", ""},
	{"redirect", "the next request follows it; what is in flight ends as it began", ""},
	{"tls.", "new connections get it", ""},
	{"tls", "new connections speak TLS, or no longer; what is in flight ends", ""},
	{"allow", "the next request is held to it: 403", "who was not allowed is served from the next request on"},
	{"deny", "the next request is held to it: 403", "who was denied is served from the next request on"},
	{"trusted_proxies", "the next request may count as another client's: to allow, deny, routes and servers", ""},
	{"limits.header", "the next request is held to it: 431", ""},
	{"limits.fields", "the next request is held to it: 431", ""},
	{"limits.body", "the next request is held to it: 413", ""},
	{"limits.conns_per_client", "the next connection is held to it: 429", ""},
	{"limits.conns", "the next connection is held to it: the oldest idle one is closed, else 503", ""},
	{"timeout.header", "the next request is held to it: 408", ""},
	{"timeout.idle", "connections that wait for a request are closed after it", ""},
	{"timeout.body_stall", "the next body is held to it: 408, or cut", ""},
}

// of returns what requests notice of c, a change of key.
func (n notices) of(c *Change, key string) string {
	for _, one := range n {
		switch {
		case key == one.key && c.To == "" && one.gone != "":
			return one.gone
		case strings.HasPrefix(key, one.key):
			return one.text
		}
	}
	return ""
}

func (c *Change) ofFrontend(key string) string {
	switch {
	case key == "" && c.From == "":
		return "begins to listen"
	case key == "":
		return "stops listening; what is in flight ends"
	default:
		return onFrontend.of(c, key)
	}
}

func (c *Change) ofService(old, new *File, name, key string) string { //nolint:predeclared // the pair of old
	was, is := old.Services[name], new.Services[name]
	_, before := old.Services[name]
	_, after := new.Services[name]
	switch {
	case !before:
		return "starts " + count(is.Replicas)
	case !after:
		return fmt.Sprintf("drains and stops %s", count(was.Replicas))
	case c.Tag == Roll:
		return new.rolling(name)
	case key == "replicas" && is.Replicas > was.Replicas:
		return fmt.Sprintf("starts %d more", is.Replicas-was.Replicas)
	case key == "replicas":
		return fmt.Sprintf("drains and stops %d of %d", was.Replicas-is.Replicas, was.Replicas)
	default:
		return onService.of(c, key)
	}
}

// ofSecret has c, a change of a secret, say which services roll for it. One that
// none of the services uses that there were before changes nothing that runs.
func (c *Change) ofSecret(old, new *File, secret string) { //nolint:predeclared // the pair of old
	var users []string
	for name := range inOrder(new.Services) {
		if _, before := old.Services[name]; before && slices.Contains(new.SecretsOf(name), secret) {
			users = append(users, name)
		}
	}
	if len(users) == 0 {
		c.Tag = Live
		return
	}
	c.Traffic = "rolls " + strings.Join(users, ", ")
	if _, before := old.Secrets[secret]; before {
		c.Traffic += " if the content differs"
	}
}
