// Package generate makes the JSON Schemas from the Go types of the configuration
// versions: structure and secrets from their tags, descriptions from their doc
// comments, defaults from their default functions, and what types cannot say
// from the table in rules.go.
//
// A schema must never refuse what the program accepts, because an editor would
// then find fault with a good file. The other way round it may be lenient. Only
// null and "" are refused where a choice is expected, because an editor would
// offer them.
//
// Only the tests of package schemas import it, so it is in no binary.
package generate
