// Package cli is the command line: one file for each command.
//
// Data goes to stdout, talk to stderr, and the exit status is that of the codes
// in package api. Whatever is typed wrong is told as a problem: what, where, why,
// what to do, with the nearest command or flag. A command that needs the agent
// waits a moment for one that is restarting.
package cli

//go:generate go test -run TestReferenceIsUpToDate -update .
