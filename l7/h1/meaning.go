package h1

import "bytes"

// maxOptions bounds the names in Connection: each is looked for among all
// fields. Real clients send up to three.
const maxOptions = 32

// weigh reads the fields that a proxy has to understand.
func (h *head) weigh() error {
	options := 0
	for i := range h.fields {
		if err := h.weighField(&h.fields[i], &options); err != nil {
			return err
		}
	}
	switch {
	case h.chunked && h.minor == 0:
		return errOldCoding
	case h.chunked && h.lengths > 0:
		return errBothFrames
	}
	return nil
}

func (h *head) weighField(f *field, options *int) error {
	switch f.kind {
	case host:
		h.hosts++
		h.host = f.value
	case connection:
		return h.weighConnection(h.view(f.value), options)
	case contentLength:
		return h.weighLength(h.view(f.value))
	case transferEncoding:
		return h.weighCoding(h.view(f.value))
	case upgrade:
		h.upgrades++
		h.upgrade = f.value
		return checkUpgrade(h.view(f.value))
	case expect:
		h.expects++
		h.expect = f.value
	default: // means nothing to us
	}
	return nil
}

func (h *head) weighLength(v []byte) error {
	n, ok := decimal(v)
	if !ok {
		return errLength
	}
	if h.lengths++; h.lengths > 1 {
		return errManyLengths
	}
	h.length = n
	return nil
}

func (h *head) weighCoding(v []byte) error {
	if h.chunked || !Same(v, "chunked") {
		return errCoding
	}
	h.chunked = true
	return nil
}

// weighConnection reads the options of one Connection field (RFC 9110 7.6.1).
func (h *head) weighConnection(list []byte, options *int) error {
	for len(list) > 0 {
		var option []byte
		option, list = element(list)
		if len(option) == 0 {
			continue
		}
		if *options++; *options > maxOptions || !isTokenText(option) {
			return errConnection
		}
		if err := h.weighOption(option); err != nil {
			return err
		}
	}
	return nil
}

func (h *head) weighOption(option []byte) error {
	switch {
	case Same(option, "close"):
		h.close = true
		return nil
	case Same(option, "keep-alive"):
		return nil
	case Same(option, "upgrade"):
		h.wantUpgrade = true
		return nil
	}
	if k := kindOf(option); k == host || k == contentLength || k == transferEncoding {
		return errNominated
	}
	for i := range h.fields {
		if sameBytes(option, h.view(h.fields[i].name)) {
			h.fields[i].drop = true
		}
	}
	return nil
}

// checkUpgrade checks a list of protocols: NAME or NAME/VERSION (RFC 9110 7.8).
func checkUpgrade(list []byte) error {
	for more := true; more; {
		var protocol []byte
		protocol, list, more = bytes.Cut(list, comma)
		name, version, versioned := bytes.Cut(trim(protocol), slash)
		if !isTokenText(name) || versioned && !isTokenText(version) {
			return errUpgrade
		}
	}
	return nil
}

var slash = []byte{'/'}

// switchable is the protocol in Upgrade if there is one alone, and it is one
// that a tunnel may carry. HTTP over a tunnel would pass by every rule here
// (h2c smuggling), and TLS would have to end here.
func (h *head) switchable() []byte {
	if h.upgrades != 1 || !h.wantUpgrade || h.minor == 0 {
		return nil
	}
	protocol := h.view(h.upgrade)
	name, _, _ := bytes.Cut(protocol, slash)
	if bytes.IndexByte(protocol, ',') >= 0 || Same(name, "h2c") || Same(name, "h2") || Same(name, "http") || Same(name, "tls") {
		return nil
	}
	return protocol
}
