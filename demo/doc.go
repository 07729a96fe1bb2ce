// Package demo shows the main job to a stranger: it runs a real program under
// Backstay, puts load on it, kills and freezes everything in turn, deploys a
// good and a bad release, and counts what a client noticed.
//
// The load is a process of its own that checks every answer and never retries.
// Before anything else it must prove that it sees failures: the same program
// without Backstay, and one kill. What is promised is judged by counts, never by
// times, so that a slow machine shows long times and no broken promise.
package demo
