// Package backstay holds the words the platform is spoken in.
//
// It does no I/O, starts no goroutine and imports the standard library only;
// every other package may import it, and it imports none of them. A word comes
// in when two rooms must talk about the same thing, not before.
//
// A service is something to keep running; an instance is one running copy of
// it; a release is one version of its definition. A probe is a periodic
// question. A pool is how requests are spread over the servers of a service.
package backstay
