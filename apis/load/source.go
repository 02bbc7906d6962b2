package load

// Source says where a value of the configuration was written; the path is that of
// the current version. Unlike Position it
// does not fall back to what is around the field. isSet says whether Config has
// something there: a field that is in the file but empty is not the source of
// the default that it got.
func (j *Join) Source(fieldPath string, isSet bool) (Position, bool) {
	if j.isOverridden(fieldPath) || isSet && j.unset[writtenAs(j.Version, fieldPath, j.argNames)] {
		return Position{}, false
	}
	return j.Written(fieldPath)
}

// Written says where the file has a field, whether or not the command line
// overrode it.
func (j *Join) Written(fieldPath string) (Position, bool) {
	pos, ok := j.positions[writtenAs(j.Version, fieldPath, j.argNames)]
	return pos, ok
}

// Overridden tells whether a field, or what is around it, was set on the command
// line.
func (j *Join) Overridden(fieldPath string) bool { return j.isOverridden(fieldPath) }

// SetBy names the flag or environment variable that set a field, as Override's
// Setter does; empty if the file did, or if that is not known.
func (j *Join) SetBy(fieldPath string) string {
	if j.setter == nil || !j.isOverridden(fieldPath) {
		return ""
	}
	return j.setter(fieldPath)
}
