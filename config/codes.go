package config

import (
	"maps"
	"slices"
)

// codes are all mistakes that a file can be refused for, each with what to do
// about it where its message has no better idea.
var codes = map[string]string{
	// the text
	"too_large":         "take out what is not configuration, or split it: that is the limit of one node, about two thousand services",
	"not_utf8":          "save the file as UTF-8",
	"control_character": "write it as an escape in double quotes",
	"tab":               "use spaces",
	"syntax":            "look for a bracket, a quote or an indentation that does not match",
	"directive":         "take the line out",
	"second_document":   "take out what follows ---",
	"tag":               "take it out",
	"unknown_alias":     "write the value, or an anchor above",
	"key_not_text":      "write one word",
	"too_deep":          "the language needs nine",
	"too_many_values":   "take out aliases of aliases",
	"empty_file":        "try schema: 1",

	// keys
	"unknown_key":         "",
	"not_in_this_version": "leave it out",
	"duplicate_key":       "take one of them out",
	"boolean_key":         "",
	"merge_key":           "",
	"reserved_name":       "take another name",
	"bad_name":            "use a-z, 0-9 and -",
	"name_too_long":       "take a shorter one",
	"missing_key":         "add it",
	"useless_key":         "take it out",

	// values by themselves
	"no_value":             "",
	"not_a_mapping":        "write { } around its keys",
	"not_a_list":           "",
	"not_one_value":        "write one",
	"shell_string":         "",
	"yaml_boolean":         "",
	"only_true":            "",
	"not_a_boolean":        "write true or false",
	"not_a_number":         "write digits, without quotes",
	"not_text":             "",
	"out_of_range":         "",
	"no_unit":              "",
	"bad_duration":         "",
	"bad_size":             "",
	"bad_percent":          "",
	"bad_budget":           "",
	"bad_range":            "",
	"bad_count":            "",
	"bad_port":             "",
	"bad_status":           "",
	"bad_umask":            "",
	"bad_rlimit":           "",
	"bad_network":          "write an address and the length of its prefix, as in 10.0.0.0/8",
	"no_prefix_length":     "",
	"host_bits":            "",
	"octal_without_quotes": "",
	"empty_value":          "write one, or leave the key out",
	"empty_list":           "",
	"twice_in_list":        "take it out",
	"too_many":             "split it",
	"unknown_word":         "",
	"not_absolute":         "write the path from /",
	"zero_byte":            "take it out: it would end the text",
	"bad_schema":           "",

	// running
	"bad_version":         "",
	"bad_signal":          "known: SIGTERM, SIGINT, SIGQUIT, SIGHUP and the other names of signal(7)",
	"bad_rlimit_name":     "known: nofile, nproc, core, memlock, stack and the others of setrlimit(2)",
	"bad_variable":        "use A-Z, 0-9 and _",
	"reserved_variable":   "take it out",
	"no_readiness":        "",
	"no_probe":            "",
	"several_probes":      "take one of them out",
	"timeout_over_period": "",
	"bad_address":         "",
	"bad_path":            "take that out",
	"bad_regexp":          "the syntax is RE2's",
	"bad_header_name":     "",
	"bad_header_value":    "take it out",
	"header_twice":        "take one of them out",
	"no_port":             "give the service ports: { http: auto }",
	"port_needed":         "add port:",
	"no_such_port":        "add it to its ports:",
	"udp_port":            "take one that is TCP",
	"port_clash":          "take another port",
	"fixed_port_overlap":  "use auto, or deploy: { strategy: recreate }",
	"fixed_port_replicas": "",
	"no_such_service":     "add it under services:",
	"waits_for_itself":    "take one of them out",
	"never_completes":     "wait for ready, or give it restart: { policy: on_failure }",
	"no_replicas":         "give it one, or do not wait for it",
	"no_step":             "",
	"deadline_too_short":  "",

	// expansions and secrets
	"bad_expansion":      "an expansion is ${port.http}; $${ is the text ${",
	"unknown_expansion":  "",
	"expansion_not_here": "",
	"no_version":         "add version: to the service",
	"no_such_secret":     "add it under secrets:",
	"secret_in_the_open": "put it into run.env and read the variable",
	"env_not_here":       "make it a secret: secrets: { NAME: { env: VARIABLE } }",
	"no_source":          "add file:, env:, credential: or command:",
	"several_sources":    "take one of them out",
	"bad_credential":     "write the name alone",

	// traffic
	"bad_bind":            "",
	"bound_twice":         "take one of them out",
	"tls_missing":         "give one tls: with certs",
	"https_port_unclear":  "write routes: [{ redirect: { url: https://shop.example.com:8443/ } }], or bind :443",
	"no_action":           "add routes: or redirect:, and to each route to:, redirect: or respond:",
	"several_actions":     "take one of them out",
	"redirect_loop":       "redirect from a frontend of its own, on :80",
	"never_reached":       "put it first, or take it out",
	"bad_host":            "leave host: out",
	"bad_method":          "",
	"bad_url":             "",
	"bad_redirect_status": "",
	"several_bodies":      "take one of them out",
	"bad_retry":           "",
	"timeout_order":       "",

	// this host
	"user_missing":    "write user: root if that is meant",
	"no_such_user":    "create it with useradd --system, or correct the name",
	"no_such_group":   "create it with groupadd --system, or correct the name",
	"account_unknown": "see whether getent answers",
	"needs_root":      "leave the key out, or run the agent as root",
	"privileged_port": "",
	"no_such_file":    "create it, or correct the path",
	"wrong_file":      "correct the path",
	"unreadable_file": "the agent must be able to read it",
	"not_executable":  "",
	"bad_env_file":    "each line is NAME=value",
	"page_too_large":  "make it smaller",
	"key_for_all":     "",
	"key_mismatch":    "take the key that the certificate was made with",
	"bad_key":         "the file must hold -----BEGIN PRIVATE KEY-----, without a passphrase",
	"bad_certificate": "the file must hold -----BEGIN CERTIFICATE-----, the server's own first",
}

// warnings are what a file is not refused for.
var warnings = map[string]string{
	"cert_expired":       "renew it; it is read again when it changes",
	"cert_not_yet_valid": "look at the clock of this host",
}

// Codes returns the codes of all mistakes, in order: those of [Found] and, since
// each becomes one, of Problems.
func Codes() []string { return slices.Sorted(maps.Keys(codes)) }
