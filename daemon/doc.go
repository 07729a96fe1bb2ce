// Package daemon ties the rooms together into the roles of Backstay. It holds
// no decisions of its own: each knot is one file.
//
// Three processes come out of it. The agent ([Role] "agent") knows what is
// desired and is the only writer of it; the proxy ([Role] "proxy") serves its
// last orders with nobody above it; and the front ([Up]) shows events to a
// person and costs nothing when it is killed. [Agent] is what a unit starts: it
// becomes the keeper, which starts the agent.
package daemon
