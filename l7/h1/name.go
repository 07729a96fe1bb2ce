package h1

// kind is what a field is to a proxy.
type kind uint8

// Kinds of fields.
const (
	other kind = iota
	host
	connection
	contentLength
	transferEncoding
	upgrade
	expect
	forwardedFor
	forwardedProto
	forwardedHost
	vouched // other fields that say where a request came from: believed only from a trusted peer
	hop     // never passed on
)

// kindOf knows a field by its name. Most names are sorted out by their length.
func kindOf(name []byte) kind {
	switch len(name) {
	case 2, 5, 7:
		return kindOfShort(name)
	case 4:
		return when(same(name, "host"), host)
	case 6:
		return when(same(name, "expect"), expect)
	case 9:
		return kindOf9(name)
	case 10:
		return kindOf10(name)
	case 14:
		return kindOf14(name)
	}
	return kindOfLong(name)
}

func when(yes bool, k kind) kind {
	if yes {
		return k
	}
	return other
}

func kindOfShort(name []byte) kind {
	switch {
	case same(name, "upgrade"):
		return upgrade
	case same(name, "te"), same(name, "trailer"):
		return hop
	case same(name, "proxy"): // CGI makes HTTP_PROXY of it, which programs obey
		return hop
	}
	return other
}

func kindOf9(name []byte) kind {
	switch {
	case same(name, "x-real-ip"), same(name, "forwarded"):
		return vouched
	case same(name, "x_real_ip"):
		return hop
	}
	return other
}

func kindOf10(name []byte) kind {
	switch {
	case same(name, "connection"):
		return connection
	case same(name, "keep-alive"):
		return hop
	}
	return other
}

func kindOf14(name []byte) kind {
	switch {
	case same(name, "content-length"):
		return contentLength
	case same(name, "content_length"), same(name, "http2-settings"):
		return hop
	}
	return kindOfX(name)
}

// kindOfLong also finds twins: CGI and its heirs read _ as -, so
// Transfer_Encoding and X_Forwarded_For must not pass, from whomever.
func kindOfLong(name []byte) kind {
	if len(name) < 15 {
		return other
	}
	switch lowered(name[0]) {
	case 'x':
		return kindOfX(name)
	case 'p':
		return when(same(name, "proxy-connection") || same(name, "proxy-authenticate") || same(name, "proxy-authorization"), hop)
	case 't':
		if same(name, "transfer-encoding") {
			return transferEncoding
		}
		return when(same(name, "transfer_encoding"), hop)
	}
	return other
}

// kindOfX knows X-Forwarded- and more, and its twins.
func kindOfX(name []byte) kind {
	if lowered(name[0]) != 'x' || !same(name[2:11], "forwarded") {
		return other
	}
	switch {
	case same(name, "x-forwarded-for"):
		return forwardedFor
	case same(name, "x-forwarded-proto"):
		return forwardedProto
	case same(name, "x-forwarded-host"):
		return forwardedHost
	case name[1] == '-' && name[11] == '-':
		return vouched
	case name[1] == '_' || name[11] == '_':
		return hop
	}
	return other
}
