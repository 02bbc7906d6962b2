package schemas

import (
	"embed"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed v1*/*.json
var files embed.FS

// Name says which schema: Version is "v1beta4", Kind is "JoinConfiguration".
type Name struct {
	Version, Kind string
}

// List gives the names of all schemas, the newest beta version first and v1,
// which is experimental, at the end.
func List() []Name {
	var names []Name
	paths, err := fs.Glob(files, "*/*.json")
	if err != nil { // cannot happen: the pattern is a good one
		return nil
	}
	for _, file := range paths {
		version, kind := path.Split(file)
		names = append(names, Name{strings.TrimSuffix(version, "/"), strings.TrimSuffix(kind, ".json")})
	}
	slices.SortStableFunc(names, func(a, b Name) int { return strings.Compare(b.Version, a.Version) })
	return names
}

// Get gives a schema, as JSON; false if there is none of that name.
func Get(n Name) ([]byte, bool) {
	data, err := files.ReadFile(n.Version + "/" + n.Kind + ".json")
	return data, err == nil
}
