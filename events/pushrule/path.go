package pushrule

import "strings"

// parsePath splits a dot-separated property path into the names of the nested properties. A backslash escapes a dot
// or a backslash; before any other character, and at the end, it is an ordinary character (Matrix appendices,
// "Dot-separated property paths").
func parsePath(path string) []string {
	if !strings.Contains(path, `\`) {
		return strings.Split(path, ".")
	}
	var names []string
	var name []byte
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '.':
			names = append(names, string(name))
			name = name[:0]
		case path[i] == '\\' && i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '\\'):
			i++
			name = append(name, path[i])
		default:
			name = append(name, path[i])
		}
	}
	return append(names, string(name))
}

// isBody reports whether a path is content.body, where patterns match words instead of the whole value.
func isBody(path []string) bool {
	return len(path) == 2 && path[0] == "content" && path[1] == "body"
}
