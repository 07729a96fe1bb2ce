// Package logs reads what instances have printed, as lines with their time and
// stream.
//
// On disk a log is the raw bytes of the program, moved there by the keeper, and
// beside it an index of marks that say when the bytes from an offset on came, and
// from which stream. Older files of the log have numbers. A reader joins all of
// that: lines whose halves lie apart, because the other stream came between or
// the file was full, are whole again. Where the index is missing, torn or wrong,
// lines are still lines, and only their time is unknown.
package logs
