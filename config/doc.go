// Package config is the one file, made of the rooms' own types.
//
// [Load] is strict and tells every mistake at once, in the order of the lines:
// each with file, line and column, the key, what is wrong, and behind the caret
// a value that would do, the nearest key or what is known. What cannot be read
// as YAML is told alone, since nothing can be known past it.
//
// A file goes through four steps, and a mistake in one does not hide those of
// the next:
//
//	text ──▶ tree ──▶ Go values ──▶ rooms' Check ──▶ cross checks ──▶ [File]
//	 bytes    YAML     keys, types   one value        references, ports,
//	                                                   files and users there
//
// A key of the language that is not built yet is refused by its own message and
// never ignored: language.txt lists them all. The file system and the users are
// asked through [Env], so that a check on another machine says the same.
package config

//go:generate go test -run ^TestReferencePageIsUpToDate$ . -update
