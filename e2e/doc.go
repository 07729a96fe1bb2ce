// Package e2e tries to break Backstay as a whole: the built program, real
// services, real peers, kill -9. Each test is a promise of the README.
//
// `make e2e` runs the short forms; with BACKSTAY_LONG=1, `make soak` runs the
// long ones.
package e2e
