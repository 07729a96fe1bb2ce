package h1

import "strconv"

// Bounds of what a chunked body has besides its data. What comes with the
// chunks is thrown away, so there is no reason to take much of it.
const (
	maxChunkDigits = 16
	maxExtensions  = 16 << 10 // bytes in one body
	maxTrailers    = 16 << 10
)

// ChunkReader takes the chunks off a body (RFC 9112 7.1). It is a pure state
// machine: the zero value is ready, and copying it copies where it is.
// Extensions and trailers are checked, bounded and dropped.
type ChunkReader struct {
	state   chunkState
	digits  uint8
	left    uint64 // of the chunk's data
	extra   int    // bytes of extensions
	trailer int    // bytes of trailers
}

type chunkState uint8

const (
	inSize      chunkState = iota
	inExtBlank             // before the name of an extension
	inExtName              //
	inExtAfter             // whitespace after the name
	inExtEquals            // before its value
	inExtValue             // a token
	inExtQuoted            //
	inExtEscape            // after a backslash
	inExtEnd               // after the quotes
	inExtGap               // whitespace after the value: another extension follows
	inSizeLF               // after the CR of the size
	inData                 //
	inDataCR               // after the data
	inDataLF               //
	inLine                 // at the start of a trailer line
	inName                 // in the name of a trailer
	inValue                // in its value
	inLineLF               // after the CR of a trailer
	inEndLF                // after the CR of the last line
	isDone
)

// Done says that the body is complete. What follows belongs to the next
// message.
func (c *ChunkReader) Done() bool { return c.state == isDone }

// Next reads from b, which goes on where the last call stopped: it used n
// bytes, and data, a part of them, is payload. It stops behind the first
// payload it finds, so call it until b is used up or the body is done.
func (c *ChunkReader) Next(b []byte) (data []byte, n int, err error) {
	for n < len(b) && c.state != isDone {
		if c.state == inData {
			take := min(uint64(len(b)-n), c.left)
			if c.left -= take; c.left == 0 {
				c.state = inDataCR
			}
			return b[n : n+int(take)], n + int(take), nil
		}
		if err := c.step(b[n]); err != nil {
			return nil, n, err
		}
		n++
	}
	return nil, n, nil
}

func (c *ChunkReader) step(x byte) error {
	switch {
	case c.state == inSize:
		return c.size(x)
	case c.state < inSizeLF:
		return c.extension(x)
	case c.state < inLine:
		return c.frame(x)
	}
	return c.trail(x)
}

func (c *ChunkReader) size(x byte) error {
	switch {
	case class[x]&isHex != 0:
		return c.digit(x)
	case c.digits == 0:
		return errChunkSize
	case x == '\r':
		c.state = inSizeLF
	case x == ';':
		c.state = inExtBlank
	default:
		return errChunkSize
	}
	return nil
}

func (c *ChunkReader) digit(x byte) error {
	if c.digits++; c.digits > maxChunkDigits {
		return errChunkSize
	}
	v := x - '0'
	if v > 9 {
		v = x | 0x20 - 'a' + 10
	}
	if c.left >= 1<<59 {
		return errChunkBig
	}
	c.left = c.left<<4 | uint64(v)
	return nil
}

// frame reads the line ends around the data.
func (c *ChunkReader) frame(x byte) error {
	switch c.state {
	case inSizeLF:
		if x != '\n' {
			return errChunkSize
		}
		c.digits = 0
		c.state = inData
		if c.left == 0 {
			c.state = inLine
		}
	case inDataCR:
		if x != '\r' {
			return errChunkEnd
		}
		c.state = inDataLF
	default: // inDataLF
		if x != '\n' {
			return errChunkEnd
		}
		c.state = inSize
	}
	return nil
}

// AppendChunkSize begins a chunk of n > 0 bytes; [ChunkEnd] ends it.
func AppendChunkSize(dst []byte, n int) []byte {
	if n <= 0 {
		panic("h1: chunk of " + strconv.Itoa(n) + " bytes") // 0 would end the body
	}
	return append(strconv.AppendInt(dst, int64(n), 16), crlf...)
}

// What ends a chunk, and what ends a body.
const (
	ChunkEnd  = "\r\n"
	LastChunk = "0\r\n\r\n"
)

// AppendChunk writes data as one chunk; nothing if there is none.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	return append(append(AppendChunkSize(dst, len(data)), data...), ChunkEnd...)
}
