package h1

// extension reads ;NAME[=VALUE] with whitespace around the parts but not at the
// end of the line (RFC 9112 7.1.1), all of it, because programs that skip to
// the end of the line disagree about where that is.
func (c *ChunkReader) extension(x byte) error {
	if c.extra++; c.extra > maxExtensions {
		return errChunkExtBig
	}
	next, ok := extNext(c.state, x)
	if !ok {
		return errChunkExt
	}
	c.state = next
	return nil
}

func extNext(s chunkState, x byte) (chunkState, bool) {
	switch s {
	case inExtBlank, inExtEquals:
		return extBefore(s, x)
	case inExtName, inExtAfter:
		return extName(s, x)
	case inExtQuoted:
		return extQuoted(x)
	case inExtEscape:
		return inExtQuoted, text(x)
	default: // inExtValue, inExtEnd, inExtGap
		return extValue(s, x)
	}
}

// extBefore is before a name or a value.
func extBefore(s chunkState, x byte) (chunkState, bool) {
	switch {
	case blank(x):
		return s, true
	case class[x]&isToken != 0 && s == inExtBlank:
		return inExtName, true
	case class[x]&isToken != 0:
		return inExtValue, true
	}
	return inExtQuoted, x == '"' && s == inExtEquals
}

func extName(s chunkState, x byte) (chunkState, bool) {
	switch {
	case class[x]&isToken != 0:
		return inExtName, s == inExtName
	case blank(x):
		return inExtAfter, true
	case x == '=':
		return inExtEquals, true
	}
	return extOver(x, s == inExtName)
}

func extValue(s chunkState, x byte) (chunkState, bool) {
	switch {
	case class[x]&isToken != 0:
		return inExtValue, s == inExtValue
	case blank(x):
		return inExtGap, true
	}
	return extOver(x, s != inExtGap)
}

// extOver is behind an extension, which only ends the line where it may.
func extOver(x byte, mayEnd bool) (chunkState, bool) {
	if x == ';' {
		return inExtBlank, true
	}
	return inSizeLF, x == '\r' && mayEnd
}

func extQuoted(x byte) (chunkState, bool) {
	switch x {
	case '"':
		return inExtEnd, true
	case '\\':
		return inExtEscape, true
	}
	return inExtQuoted, text(x)
}

// text is what a field value or a quoted string is made of.
func text(x byte) bool { return x >= ' ' && x != 0x7f || x == '\t' }

// trail reads trailer lines up to the empty line.
func (c *ChunkReader) trail(x byte) error {
	if c.trailer++; c.trailer > maxTrailers {
		return errTrailerBig
	}
	next, ok := trailNext(c.state, x)
	if !ok {
		return errTrailer
	}
	c.state = next
	return nil
}

func trailNext(s chunkState, x byte) (chunkState, bool) {
	switch s {
	case inLine:
		if x == '\r' {
			return inEndLF, true
		}
		return inName, class[x]&isToken != 0
	case inName:
		if x == ':' {
			return inValue, true
		}
		return inName, class[x]&isToken != 0
	case inValue:
		if x == '\r' {
			return inLineLF, true
		}
		return inValue, text(x)
	case inLineLF:
		return inLine, x == '\n'
	default: // inEndLF
		return isDone, x == '\n'
	}
}
