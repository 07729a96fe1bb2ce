package h1

// BodyKind is how the end of a body is found.
type BodyKind uint8

// Kinds of bodies.
const (
	None       BodyKind = iota // there is none
	Length                     // so many bytes
	Chunked                    // read by a [ChunkReader], written by [AppendChunk]
	UntilClose                 // answers only: ends with the connection
)

// Body is the frame of a body (RFC 9112 6.3).
type Body struct {
	Kind   BodyKind
	Length int64 // of kind Length
}

// Empty says that no byte of a body is to come.
func (b Body) Empty() bool { return b.Kind == None || b.Kind == Length && b.Length == 0 }

// CheckBody judges what has come of the body of a request, without reading it:
// call it before anything of the request is sent on, so that a request that is
// malformed in its first bytes reaches no server at all.
func CheckBody(body Body, came []byte) error {
	if body.Kind != Chunked {
		return nil
	}
	var c ChunkReader
	for len(came) > 0 && !c.Done() {
		_, n, err := c.Next(came)
		if err != nil {
			return err
		}
		came = came[n:]
	}
	return nil
}
