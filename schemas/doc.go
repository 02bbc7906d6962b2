// Package schemas holds a JSON Schema for each configuration kind in each
// version, for editors and other tools. The files are made from the Go types:
//
//	go test ./schemas -update
//
// The program itself does not validate with them: package apis/load says more,
// and says where. A schema must never refuse what apis/load accepts.
package schemas
