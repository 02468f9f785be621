package deltaforge

import (
	"errors"
	"fmt"
)

// FailureKind says what the host does about a failure.
type FailureKind string

const (
	// KindRetry: something is not available; the same events come again later.
	KindRetry FailureKind = "retry"
	// KindFatal: the pipeline stops and shows the message.
	KindFatal FailureKind = "fatal"
)

// A Failure is the error of a call that could not do its work; nothing of it is applied. Any other error that a plugin
// returns counts as a fatal one.
type Failure struct {
	// Kind says what the host does about it.
	Kind FailureKind
	// Message says what went wrong, to the operator.
	Message string
	cause   error
}

// Retry says that something is not available: the same events come again later. As [fmt.Errorf].
func Retry(format string, args ...any) error { return failure(KindRetry, format, args) }

// Fatal stops the pipeline, which shows the message. As [fmt.Errorf].
func Fatal(format string, args ...any) error { return failure(KindFatal, format, args) }

func failure(kind FailureKind, format string, args []any) error {
	err := fmt.Errorf(format, args...)
	return &Failure{Kind: kind, Message: err.Error(), cause: errors.Unwrap(err)}
}

func (f *Failure) Error() string { return f.Message }

// Unwrap is the error that the message was made of, if there is one.
func (f *Failure) Unwrap() error { return f.cause }

// FailureOf is what the host learns of an error.
func FailureOf(err error) Failure {
	var failure *Failure
	if errors.As(err, &failure) {
		return Failure{Kind: failure.Kind, Message: err.Error()}
	}
	return Failure{Kind: KindFatal, Message: err.Error()}
}

// Rejection is the error by which a handler of single events takes its event out of the stream; see [PerEvent].
type Rejection struct {
	// Reason says why.
	Reason string
}

// Reject takes one event out of the stream when a handler of single events returns it: the stage's `on_error` decides
// what becomes of it. As [fmt.Errorf].
func Reject(format string, args ...any) error {
	return &Rejection{Reason: fmt.Sprintf(format, args...)}
}

func (r *Rejection) Error() string { return r.Reason }
