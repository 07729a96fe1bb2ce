package cli

// style colours words on a terminal. The zero style does not.
type style struct{ on bool }

// style returns how words are coloured here: not in a pipe, not where NO_COLOR
// is set to anything, not on a terminal that says it is dumb.
func (a *app) style() style {
	return style{a.Terminal && a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb"}
}

func (s style) paint(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) good(text string) string { return s.paint("32", text) }
func (s style) warn(text string) string { return s.paint("33", text) }
func (s style) bad(text string) string  { return s.paint("31", text) }
func (s style) head(text string) string { return s.paint("1", text) }
