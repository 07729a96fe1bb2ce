package keeperwire

import "errors"

// A field is a tag, the length of its value in three bytes, and the value. What
// is zero is left out; a list repeats its tag; a struct is fields in a field.
const head = 4

// ErrMalformed is what every frame that breaks the format gets.
var ErrMalformed = errors.New("malformed frame")

func putBytes[T ~string | ~[]byte](b []byte, tag byte, v T) []byte {
	if len(v) == 0 {
		return b
	}
	return putItem(b, tag, v)
}

// putItem is putBytes for a list, where an empty item counts.
func putItem[T ~string | ~[]byte](b []byte, tag byte, v T) []byte {
	n := len(v)
	b = append(b, tag, byte(n), byte(n>>8), byte(n>>16))
	return append(b, v...)
}

func putList(b []byte, tag byte, vs []string) []byte {
	for _, v := range vs {
		b = putItem(b, tag, v)
	}
	return b
}

// putUint writes as few little-endian bytes as will do.
func putUint(b []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	return putNumber(b, tag, v)
}

func putNumber(b []byte, tag byte, v uint64) []byte {
	at := len(b)
	b = append(b, tag, 0, 0, 0)
	for ; v > 0; v >>= 8 {
		b = append(b, byte(v))
	}
	b[at+1] = byte(len(b) - at - head)
	return b
}

// putInt folds the sign into the lowest bit: small negatives stay short.
func putInt[T ~int32 | ~int64 | ~int](b []byte, tag byte, v T) []byte {
	return putUint(b, tag, uint64(v)<<1^uint64(int64(v)>>63))
}

func putBool(b []byte, tag byte, v bool) []byte {
	if !v {
		return b
	}
	return putUint(b, tag, 1)
}

// putStruct writes the fields that add appends as one value.
func putStruct(b []byte, tag byte, add func([]byte) []byte) []byte {
	at := len(b)
	b = add(append(b, tag, 0, 0, 0))
	n := len(b) - at - head
	b[at+1], b[at+2], b[at+3] = byte(n), byte(n>>8), byte(n>>16)
	return b
}

// value is the inside of one field.
type value struct {
	b   []byte
	err *error
}

func (v value) fail() { *v.err = ErrMalformed }

func (v value) uint() uint64 {
	if len(v.b) > 8 {
		v.fail()
		return 0
	}
	n := uint64(0)
	for i, c := range v.b {
		n |= uint64(c) << (8 * i)
	}
	return n
}

// upTo is a number that fits in so many bits.
func (v value) upTo(bits uint) uint64 {
	n := v.uint()
	if n>>bits != 0 {
		v.fail()
		return 0
	}
	return n
}

func (v value) int() int64 {
	n := v.uint()
	return int64(n>>1) ^ -int64(n&1)
}

func (v value) int32() int32 {
	n := v.int()
	if n != int64(int32(n)) {
		v.fail()
		return 0
	}
	return int32(n)
}

func (v value) bool() bool { return v.upTo(1) == 1 }

func (v value) str() string { return string(v.b) }

func (v value) bytes() []byte { return append([]byte(nil), v.b...) }

// each hands every field of b to take, until one of them is malformed.
func each(b []byte, take func(tag byte, v value)) (err error) {
	for len(b) > 0 && err == nil {
		if len(b) < head {
			return ErrMalformed
		}
		n := int(b[1]) | int(b[2])<<8 | int(b[3])<<16
		if n > len(b)-head {
			return ErrMalformed
		}
		take(b[0], value{b[head : head+n], &err})
		b = b[head+n:]
	}
	return err
}

// in decodes the fields inside v.
func (v value) in(take func(tag byte, v value)) {
	if err := each(v.b, take); err != nil {
		v.fail()
	}
}
