// Package convert copies a configuration from one version's types to another's,
// field by field of the same Go name, and says what did not survive.
//
// What has another name or place in another version is the business of that
// version's package. The package must never set a default.
package convert
