package config

// Lines returns in which line each key of the file stands, by its dotted path:
// services.shop.replicas.
func (f *File) Lines() map[string]int {
	lines := make(map[string]int, len(f.at))
	for key, p := range f.at {
		lines[key] = p.line
	}
	return lines
}
