package api

import (
	"net/http"
	"slices"

	"github.com/backstay/backstay"
)

// Code is a row of [Codes].
type Code struct {
	Code string
	HTTP int               // status of the answer
	Exit backstay.ExitCode // of the command that met it
	Text string            // when it is met, in one line
}

// Codes is every code that a [backstay.Problem] may have, in the order of the
// page. A code never changes its meaning and is never given a new one; [Lookup]
// finds a row.
var Codes = slices.Concat(requestCodes, thingCodes, deployCodes, fileCodes, commandCodes, proxyCodes)

// requestCodes are about the form of a request.
var requestCodes = []Code{
	{"malformed_request", http.StatusBadRequest, backstay.ExitUsage, "what came is no HTTP request"},
	{"head_too_large", http.StatusRequestHeaderFieldsTooLarge, backstay.ExitUsage, "the head of the request is larger than is read"},
	{"wrong_http_version", http.StatusHTTPVersionNotSupported, backstay.ExitUsage, "the request is of a version of HTTP that is not spoken"},
	{"unsupported_encoding", http.StatusNotImplemented, backstay.ExitUsage, "the body is encoded in a way that is not read"},
	{"unmet_expectation", http.StatusExpectationFailed, backstay.ExitUsage, "the request expects something other than 100-continue"},
	{"unknown_path", http.StatusNotFound, backstay.ExitUsage, "the API has no such path"},
	{"wrong_method", http.StatusMethodNotAllowed, backstay.ExitUsage, "the path does not take this method"},
	{"bad_query", http.StatusBadRequest, backstay.ExitUsage, "the query cannot be read or is too long"},
	{"unknown_parameter", http.StatusBadRequest, backstay.ExitUsage, "the path does not take this parameter"},
	{"repeated_parameter", http.StatusBadRequest, backstay.ExitUsage, "a parameter is given twice"},
	{"missing_parameter", http.StatusBadRequest, backstay.ExitUsage, "a parameter that is needed is not given"},
	{"bad_parameter", http.StatusBadRequest, backstay.ExitUsage, "the value of a parameter does not do"},
	{"bad_header", http.StatusBadRequest, backstay.ExitUsage, "the value of a header does not do"},
	{"wrong_media_type", http.StatusUnsupportedMediaType, backstay.ExitUsage, "the body is declared as something else than is read here"},
	{"unexpected_body", http.StatusBadRequest, backstay.ExitUsage, "the path takes no body"},
	{"missing_body", http.StatusBadRequest, backstay.ExitUsage, "the path needs a body"},
	{"body_too_large", http.StatusRequestEntityTooLarge, backstay.ExitUsage, "the body is larger than is read"},
	{"body_cut", http.StatusBadRequest, backstay.ExitUsage, "the body ended before its length"},
	{"bad_json", http.StatusBadRequest, backstay.ExitUsage, "the body is not one JSON object"},
	{"unknown_field", http.StatusBadRequest, backstay.ExitUsage, "the body has a field that is not known"},
	{"repeated_field", http.StatusBadRequest, backstay.ExitUsage, "the body has a field twice"},
	{"missing_field", http.StatusBadRequest, backstay.ExitUsage, "the body lacks a field that is needed"},
	{"wrong_type", http.StatusBadRequest, backstay.ExitUsage, "a field of the body is of another type"},
	{"bad_value", http.StatusBadRequest, backstay.ExitUsage, "a field of the body has a value that does not do"},
	{"bad_name", http.StatusBadRequest, backstay.ExitUsage, "what should name a thing is no name"},
	{"bad_event_id", http.StatusBadRequest, backstay.ExitUsage, "what should be the id of an event is none"},
	{"bad_ref", http.StatusBadRequest, backstay.ExitUsage, "what should point at a thing is not kind/name"},
	{"denied", http.StatusForbidden, backstay.ExitDenied, "this user may not do that"},
	{"busy", http.StatusServiceUnavailable, backstay.ExitFailed, "too many requests are under way"},
	{"internal", http.StatusInternalServerError, backstay.ExitFailed, "a fault of Backstay itself; its log says more"},
	{"timeout", http.StatusGatewayTimeout, backstay.ExitTimeout, "the answer took too long; what was asked for may go on"},
	{"canceled", http.StatusServiceUnavailable, backstay.ExitFailed, "the agent stopped or the client left before the end"},
}

// thingCodes are about what a request names.
var thingCodes = []Code{
	{"not_found", http.StatusNotFound, backstay.ExitNotFound, "there is nothing of that name"},
	{"ambiguous", http.StatusConflict, backstay.ExitUsage, "several things have that name or beginning"},
	{"not_for_instances", http.StatusUnprocessableEntity, backstay.ExitUsage, "this is done to a service and not to one instance"},
	{"instance_stopping", http.StatusConflict, backstay.ExitFailed, "the instance is on its way out"},
	{"starting", http.StatusServiceUnavailable, backstay.ExitFailed, "the agent has just started and does not know yet"},
	{"no_config", http.StatusConflict, backstay.ExitFailed, "no file has ever been applied"},
	{"changed_meanwhile", http.StatusPreconditionFailed, backstay.ExitRefused, "another file is in force than If-Match says"},
	{"port_moves", http.StatusConflict, backstay.ExitRefused, "a service would be started before a frontend has left its port"},
	{"opens_gap", http.StatusConflict, backstay.ExitRefused, "a file would lead requests that are served now to a service that is not ready"},
	{"stops_everything", http.StatusConflict, backstay.ExitRefused, "a file without services would stop all that runs"},
	{"not_running", http.StatusConflict, backstay.ExitFailed, "the instance does not run"},
	{"stopped", http.StatusConflict, backstay.ExitRefused, "the service is stopped on purpose"},
	{"down", http.StatusConflict, backstay.ExitRefused, "everything is stopped on purpose"},
	{"bad_replicas", http.StatusUnprocessableEntity, backstay.ExitRefused, "the service cannot have that many instances: a fixed port lets one run"},
	{"bind_failed", http.StatusConflict, backstay.ExitFailed, "an address cannot be bound"},
	{"ports_exhausted", http.StatusConflict, backstay.ExitFailed, "no free port is left for an instance"},
	{"secret_unreadable", http.StatusUnprocessableEntity, backstay.ExitFailed, "the source of a secret cannot be read"},
	{"no_proxy", http.StatusServiceUnavailable, backstay.ExitDegraded, "no proxy answers, so nothing can be acknowledged"},
	{"not_acknowledged", http.StatusGatewayTimeout, backstay.ExitTimeout, "a proxy did not acknowledge in time"},
	{"keeper_gone", http.StatusServiceUnavailable, backstay.ExitFailed, "the keeper does not answer; a new one is being started"},
	{"state_broken", http.StatusConflict, backstay.ExitDegraded, "a file of the state directory was damaged, and put aside"},
	{"state_newer", http.StatusConflict, backstay.ExitFailed, "a file of the state directory was written by a newer version"},
	{"disk", http.StatusInsufficientStorage, backstay.ExitFailed, "the state directory cannot be written"},
}

// deployCodes are about deploys and releases.
var deployCodes = []Code{
	{"deploy_running", http.StatusConflict, backstay.ExitRefused, "a deploy of the service is under way"},
	{"no_deploy", http.StatusConflict, backstay.ExitFailed, "no deploy of the service is under way"},
	{"not_paused", http.StatusConflict, backstay.ExitFailed, "the deploy is not paused"},
	{"nothing_to_deploy", http.StatusConflict, backstay.ExitFailed, "the service is at that release already"},
	{"nothing_to_roll_back", http.StatusConflict, backstay.ExitRefused, "there is no good release to go back to"},
	{"release_not_startable", http.StatusConflict, backstay.ExitRefused, "the release could not be started: its program or a file is gone or changed"},
	{"not_started", http.StatusConflict, backstay.ExitDegraded, "an instance that is wanted cannot be started; it is tried again by itself"},
	{"rollback_not_startable", http.StatusConflict, backstay.ExitRefused, "the release to fall back on could not be started, so the deploy did not begin"},
	{"release_rolled_back", http.StatusConflict, backstay.ExitRefused, "the release was rolled back and is not tried again by itself"},
	{"release_unknown", http.StatusNotFound, backstay.ExitNotFound, "that release is not kept"},
	{"deploy_rolled_back", http.StatusConflict, backstay.ExitRolledBack, "the deploy was undone"},
	{"deploy_paused", http.StatusConflict, backstay.ExitPerson, "the deploy waits for a person"},
	{"deploy_stuck", http.StatusConflict, backstay.ExitPerson, "both releases are ill, or the only one is; a person is needed"},
	{"deploy_failed", http.StatusConflict, backstay.ExitFailed, "the deploy ended before it changed anything"},
	{"deploy_refused", http.StatusConflict, backstay.ExitRefused, "a guard did not let the deploy begin"},
	{"deploy_superseded", http.StatusConflict, backstay.ExitDegraded, "another deploy took its place"},
	{"deploy_goes_on", http.StatusGatewayTimeout, backstay.ExitTimeout, "waited long enough; the deploy goes on"},
}

// fileCodes are about the file as a whole. Its single mistakes have codes of
// their own, which only occur inside an invalid_file.
var fileCodes = []Code{
	{"invalid_file", http.StatusUnprocessableEntity, backstay.ExitUsage, "the file has mistakes; nothing was changed"},
	{"file_unreadable", http.StatusUnprocessableEntity, backstay.ExitUsage, "the file cannot be read"},
	{"refused_by_part", http.StatusConflict, backstay.ExitFailed, "a part could not take the file, and all went back to the one before"},
}

// commandCodes are met on the command line alone.
var commandCodes = []Code{
	{"bad_directory", http.StatusBadRequest, backstay.ExitUsage, "a directory of the program cannot be used"},
	{"unknown_command", http.StatusBadRequest, backstay.ExitUsage, "there is no such command"},
	{"unknown_flag", http.StatusBadRequest, backstay.ExitUsage, "the command has no such flag"},
	{"missing_flag_value", http.StatusBadRequest, backstay.ExitUsage, "a flag needs a value"},
	{"bad_flag_value", http.StatusBadRequest, backstay.ExitUsage, "the value of a flag does not do"},
	{"flags_conflict", http.StatusBadRequest, backstay.ExitUsage, "two flags exclude each other"},
	{"missing_argument", http.StatusBadRequest, backstay.ExitUsage, "the command needs one more argument"},
	{"extra_argument", http.StatusBadRequest, backstay.ExitUsage, "the command takes fewer arguments"},
	{"bad_argument", http.StatusBadRequest, backstay.ExitUsage, "an argument does not do"},
	{"already_running", http.StatusConflict, backstay.ExitRefused, "a backstay has these directories already"},
	{"no_keeper", http.StatusInternalServerError, backstay.ExitFailed, "this program carries no keeper, and none is beside it"},
	{"no_agent", http.StatusServiceUnavailable, backstay.ExitFailed, "no agent answers at the socket"},
	{"agent_gone", http.StatusServiceUnavailable, backstay.ExitTimeout, "the agent went away in the middle of an answer; what was asked for may go on"},
	{"bad_answer", http.StatusBadGateway, backstay.ExitFailed, "what answers at the socket is no agent of this version"},
	{"interrupted", http.StatusServiceUnavailable, backstay.ExitFailed, "the command was interrupted; what it had asked for goes on"},
	{"degraded", http.StatusOK, backstay.ExitDegraded, "something is not as it should be"},
	{"changes", http.StatusOK, backstay.ExitChanges, "plan has changes"},
	{"promise_broken", http.StatusInternalServerError, backstay.ExitFailed, "the demonstration lost what it promises to keep"},
	{"failed", http.StatusInternalServerError, backstay.ExitFailed, "it did not work; nothing was changed"},
}

// proxyCodes are what a proxy says to the agent. Nobody else meets them, but who
// asks a proxy by hand in an outage.
var proxyCodes = []Code{
	{"bad_request", http.StatusBadRequest, backstay.ExitUsage, "the proxy cannot read what it is asked"},
	{"snapshot_unreadable", http.StatusBadRequest, backstay.ExitUsage, "the snapshot is no JSON of its kind"},
	{"snapshot_kind", http.StatusBadRequest, backstay.ExitUsage, "what came is no snapshot for a proxy"},
	{"snapshot_too_new", http.StatusBadRequest, backstay.ExitFailed, "the snapshot is of a later version of Backstay"},
	{"snapshot_too_old", http.StatusBadRequest, backstay.ExitFailed, "the snapshot is of a version that is no longer read"},
	{"snapshot_stale", http.StatusConflict, backstay.ExitFailed, "the proxy has a newer snapshot"},
	{"snapshot_invalid", http.StatusUnprocessableEntity, backstay.ExitFailed, "the snapshot says what cannot be served"},
}

// Lookup returns the row of code.
func Lookup(code string) (row Code, known bool) {
	for _, c := range Codes {
		if c.Code == code {
			return c, true
		}
	}
	return Code{}, false
}

// Exit returns the status of a command that met p.
func Exit(p *backstay.Problem) backstay.ExitCode {
	if row, ok := Lookup(p.Code); ok {
		return row.Exit
	}
	return backstay.ExitFailed
}

// httpStatus returns the status of an answer that is p.
func httpStatus(p *backstay.Problem) int {
	row, ok := Lookup(p.Code)
	if !ok || row.HTTP < http.StatusBadRequest {
		return http.StatusInternalServerError
	}
	return row.HTTP
}
