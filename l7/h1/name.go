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
		return when(Same(name, "host"), host)
	case 6:
		return when(Same(name, "expect"), expect)
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
	case Same(name, "upgrade"):
		return upgrade
	case Same(name, "te"), Same(name, "trailer"):
		return hop
	case Same(name, "proxy"): // CGI makes HTTP_PROXY of it, which programs obey
		return hop
	}
	return other
}

func kindOf9(name []byte) kind {
	switch {
	case Same(name, "x-real-ip"), Same(name, "forwarded"):
		return vouched
	}
	return when(twin(name, "x-real-ip"), hop)
}

func kindOf10(name []byte) kind {
	switch {
	case Same(name, "connection"):
		return connection
	case Same(name, "keep-alive"):
		return hop
	}
	return other
}

func kindOf14(name []byte) kind {
	switch {
	case Same(name, "content-length"):
		return contentLength
	case twin(name, "content-length"), Same(name, "http2-settings"):
		return hop
	}
	return kindOfX(name)
}

// kindOfLong also finds twins: Transfer_Encoding and X.Forwarded.For must not
// pass, from whomever.
func kindOfLong(name []byte) kind {
	if len(name) < len("x-forwarded-") {
		return other
	}
	switch lowered(name[0]) {
	case 'x':
		return kindOfX(name)
	case 'p':
		return when(Same(name, "proxy-connection") || Same(name, "proxy-authenticate") || Same(name, "proxy-authorization"), hop)
	case 't':
		if Same(name, "transfer-encoding") {
			return transferEncoding
		}
		return when(twin(name, "transfer-encoding"), hop)
	}
	return other
}

// kindOfX knows X-Forwarded- and more, and its twins.
func kindOfX(name []byte) kind {
	if lowered(name[0]) != 'x' || !Same(name[2:11], "forwarded") {
		return other
	}
	switch {
	case Same(name, "x-forwarded-for"):
		return forwardedFor
	case Same(name, "x-forwarded-proto"):
		return forwardedProto
	case Same(name, "x-forwarded-host"):
		return forwardedHost
	case name[1] == '-' && name[11] == '-':
		return vouched
	case !alnum(name[1]) && !alnum(name[11]):
		return hop
	}
	return other
}

// twin says whether CGI and its heirs make the same variable of a name and of
// one in lower case: they put _ for -, and some for all but letters and digits.
func twin(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if lowered(c) != lower[i] && (lower[i] != '-' || alnum(c)) {
			return false
		}
	}
	return true
}
