// Package health asks whether something is well: one vocabulary of probes for
// every room. [Ask] puts the question once and says what it found in one line;
// [Threshold] turns answers into good and bad by Kubernetes' meaning;
// [Schedule] says when to ask. The last two are pure: the time is an argument.
//
// What a target sends is hostile until shown otherwise: every answer is read
// to a bound and until a deadline, and what is shown of it has no control
// characters and at most [MaxOutput] bytes.
package health
