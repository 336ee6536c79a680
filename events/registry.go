package events

import "slices"

// registry holds the decoder of every type. It is written here and nowhere else.
var registry = map[Type]func([]byte) (Data, error){}

var types = func() []Type {
	add[FunctionRegistered]()
	add[FunctionBuilt]()
	add[FunctionBuildFailed]()
	add[FunctionAliasSet]()
	add[FunctionDeleted]()
	add[FunctionsForgotten]()

	add[ExecutionRequested]()
	add[ExecutionStarted]()
	add[ExecutionSucceeded]()
	add[ExecutionFailed]()
	add[ExecutionCancelRequested]()
	add[ExecutionCancelled]()
	add[ExecutionTimedOut]()
	add[ExecutionLost]()
	add[ExecutionRetried]()
	add[ExecutionsForgotten]()

	add[WatcherJoined]()
	add[WatcherChanged]()
	add[WatcherDraining]()
	add[WatcherCordoned]()
	add[WatcherUncordoned]()
	add[WatcherLeft]()
	add[WatcherLost]()

	add[UserRegistered]()
	add[UserKeyEnrolled]()
	add[UserKeyRevoked]()
	add[UserQuotaSet]()
	add[UserDisabled]()
	add[UserEnabled]()
	add[UserUnregistered]()
	add[UserPasswordSet]()

	add[BaseImported]()
	add[BaseRemoved]()
	add[LanguageBaseSet]()

	add[LoginSucceeded]()
	add[LoginFailed]()
	add[KeyUsed]()
	add[OperatorActed]()

	all := make([]Type, 0, len(registry))
	for t := range registry {
		all = append(all, t)
	}
	slices.Sort(all)
	return all
}()

func add[T Data]() {
	var zero T
	registry[zero.Type()] = decodeAs[T]
}

// Types returns every type that this build knows, sorted.
func Types() []Type { return slices.Clone(types) }
