package h1

import "strconv"

// Rules are all refusals.
func Rules() []*Error { return rules }

// Line is the status as it stands on the page.
func (e *Error) Line() string { return strconv.Itoa(e.Status) }
