package generate

import (
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// module is the import path that the source folder stands for.
const module = "github.com/kubejoin/kubejoin/"

// comments finds the doc comments of types and fields. Those of Kubernetes'
// types are in their SwaggerDoc methods.
type comments struct {
	// source is the folder of the module.
	source string
	// packages has, for each import path, the comments by "Type" and "Type.Field".
	packages map[string]map[string]string
}

// ofType is the comment of a type, which begins with name instead of the type's.
func (c *comments) ofType(t reflect.Type, name string) (string, error) {
	return c.find(t, "", name)
}

// ofField is the comment of a type's own field. name, the field's in JSON, takes
// the place of the Go name at the beginning.
func (c *comments) ofField(t reflect.Type, f reflect.StructField, name string) (string, error) {
	return c.find(t, f.Name, name)
}

func (c *comments) find(t reflect.Type, field, name string) (string, error) {
	// A type of this module has the method from the TypeMeta in it.
	documented, ok := reflect.Zero(t).Interface().(interface{ SwaggerDoc() map[string]string })
	if ok && !strings.HasPrefix(t.PkgPath(), module) {
		key := name
		if field == "" {
			key = ""
		}
		return documented.SwaggerDoc()[key], nil
	}
	texts, err := c.load(t.PkgPath())
	if err != nil {
		return "", err
	}
	key, goName := t.Name(), t.Name()
	if field != "" {
		key, goName = t.Name()+"."+field, field
	}
	text := texts[key]
	if text == "" {
		return "", fmt.Errorf("%s.%s has no doc comment", t.PkgPath(), key)
	}
	if rest, ok := strings.CutPrefix(text, goName+" "); ok {
		text = name + " " + rest
	}
	return text, nil
}

func (c *comments) load(pkg string) (map[string]string, error) {
	if texts, ok := c.packages[pkg]; ok {
		return texts, nil
	}
	folder, ok := strings.CutPrefix(pkg, module)
	if !ok {
		return nil, fmt.Errorf("the types of %s have no descriptions", pkg)
	}
	files, err := filepath.Glob(filepath.Join(c.source, filepath.FromSlash(folder), "*.go"))
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, decl := range parsed.Decls {
			if types, ok := decl.(*ast.GenDecl); ok && types.Tok == token.TYPE {
				collect(types, texts)
			}
		}
	}
	c.packages[pkg] = texts
	return texts, nil
}

func collect(types *ast.GenDecl, texts map[string]string) {
	for _, spec := range types.Specs {
		spec := spec.(*ast.TypeSpec)
		group := spec.Doc
		if group == nil {
			group = types.Doc
		}
		texts[spec.Name.Name] = prose(group)
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, field := range structure.Fields.List {
			for _, name := range field.Names {
				texts[spec.Name.Name+"."+name.Name] = prose(field.Doc)
			}
		}
	}
}

// prose makes one line of each paragraph.
func prose(group *ast.CommentGroup) string {
	printer := comment.Printer{TextWidth: -1}
	return strings.TrimSpace(string(printer.Text(new(comment.Parser).Parse(group.Text()))))
}
