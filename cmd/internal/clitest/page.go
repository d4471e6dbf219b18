package clitest

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// Page is a page of documentation, in Markdown.
type Page struct {
	Path, Text string
}

// ReadPage reads a page.
func ReadPage(t *testing.T, file string) Page {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return Page{Path: file, Text: string(raw)}
}

var (
	blockLine = regexp.MustCompile(`(?m)^    .*$`)
	span      = regexp.MustCompile("`([^`\n]+)`")
	flagName  = regexp.MustCompile(`^--([a-z][a-z-]*)`)
	word      = regexp.MustCompile(`^[a-z]+$`)
	anchor    = regexp.MustCompile(`\]\(([^)]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// Code returns the code in a page: each line of its blocks, joined with the lines that
// continue it, and each span between backticks.
func (p Page) Code() []string {
	joined := regexp.MustCompile(` *\\\n *`).ReplaceAllString(p.Text, " ")
	code := blockLine.FindAllString(joined, -1)
	for _, found := range span.FindAllStringSubmatch(blockLine.ReplaceAllString(joined, ""), -1) {
		code = append(code, strings.ReplaceAll(found[1], `\|`, "|"))
	}
	return code
}

// CheckCommands checks that every command of the program that the page names exists and has
// the flags that the page gives it. It fails if the page names none.
func (p Page) CheckCommands(t *testing.T, parser *kong.Kong) {
	t.Helper()
	checked := 0
	for _, code := range p.Code() {
		words := strings.Fields(strings.NewReplacer("[", " ", "]", " ").Replace(code))
		for i, name := range words {
			if path.Base(name) == parser.Model.Name && i+1 < len(words) && word.MatchString(words[i+1]) {
				p.checkCommand(t, parser.Model.Node, words[i+1:])
				checked++
			}
		}
	}
	if checked == 0 {
		t.Errorf("%s names no command of %s", p.Path, parser.Model.Name)
	}
}

func (p Page) checkCommand(t *testing.T, node *kong.Node, words []string) {
	t.Helper()
	line := strings.Join(words, " ")
	flags := slices.Clone(node.Flags)
	for i, text := range words {
		child := slices.IndexFunc(node.Children, func(c *kong.Node) bool { return c.Name == text })
		flag := flagName.FindStringSubmatch(text)
		switch {
		case child >= 0:
			node = node.Children[child]
			flags = append(flags, node.Flags...)
			if node.DefaultCmd != nil {
				flags = append(flags, node.DefaultCmd.Flags...)
			}
		case i == 0:
			t.Errorf("%s: there is no command %q", p.Path, line)
			return
		case len(flag) > 1 && !hasFlag(flags, flag[1]):
			t.Errorf("%s: %q has an unknown flag", p.Path, line)
		case text == "|" || text == ">" || text == ";" || text == "#":
			return
		}
	}
}

func hasFlag(flags []*kong.Flag, name string) bool {
	return name == "help" || slices.ContainsFunc(flags, func(f *kong.Flag) bool { return f.Name == name })
}

// CheckFlags checks that every flag that the page names without a command belongs to a
// command, and every environment variable POKED_… to a flag.
func (p Page) CheckFlags(t *testing.T, parser *kong.Kong) {
	t.Helper()
	var flags []*kong.Flag
	var envs []string
	for _, command := range slices.Concat(parser.Model.Children, parser.Model.Leaves(false)) {
		flags = append(flags, command.Flags...)
		for _, flag := range command.Flags {
			envs = append(envs, flag.Envs...)
		}
	}
	for _, code := range p.Code() {
		for i, text := range strings.Fields(code) {
			found := flagName.FindStringSubmatch(text)
			if i == 0 && len(found) == 0 {
				break // of another program, or of a command that CheckCommands checks
			}
			if len(found) > 1 && !hasFlag(flags, found[1]) {
				t.Errorf("%s: no command has the flag %s", p.Path, text)
			}
		}
	}
	for _, env := range regexp.MustCompile(`POKED_[A-Z_]+`).FindAllString(p.Text, -1) {
		if !slices.Contains(envs, env) {
			t.Errorf("%s: %s sets no flag", p.Path, env)
		}
	}
}

// CheckLinks checks that the target of every link exists: a file of the repository, or a
// heading of this page. It does not check links to other hosts.
func (p Page) CheckLinks(t *testing.T) {
	t.Helper()
	anchors := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(p.Text, -1) {
		title := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(found[1]), "")
		anchors["#"+strings.ReplaceAll(title, " ", "-")] = true
	}
	links := anchor.FindAllStringSubmatch(blockLine.ReplaceAllString(p.Text, ""), -1)
	for _, found := range links {
		target, fragment, _ := strings.Cut(found[1], "#")
		switch {
		case strings.HasPrefix(target, "https://"):
		case target == "":
			if !anchors["#"+fragment] {
				t.Errorf("%s: no heading %s", p.Path, found[1])
			}
		default:
			if _, err := os.Stat(filepath.Join(filepath.Dir(p.Path), target)); err != nil {
				t.Errorf("%s: the target of the link %s does not exist", p.Path, found[1])
			}
		}
	}
	if len(links) == 0 {
		t.Errorf("%s has no link", p.Path)
	}
}

// CheckFiles checks that every file that the page names is in the repository with this root,
// except those that a command on the page makes.
func (p Page) CheckFiles(t *testing.T, root string, made ...string) {
	t.Helper()
	file := regexp.MustCompile(`^(\./)?(\.?[a-zA-Z0-9_-]+/)*\.?[a-zA-Z0-9_-]+\.(go|md|ya?ml|jsonl?|conf|txt|db|csv|mjs)$`)
	folder := regexp.MustCompile(`^(\./)?(cmd|dispatcher|events|registry|schema|testdata|\.ci|\.github)/[a-zA-Z0-9_/.-]+$`)
	for _, code := range p.Code() {
		for _, text := range strings.FieldsFunc(code, func(r rune) bool { return strings.ContainsRune(" '\"[]{},;()=", r) }) {
			if !file.MatchString(text) && !folder.MatchString(text) || slices.Contains(made, path.Base(text)) {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, text)); err != nil {
				t.Errorf("%s: there is no file %s", p.Path, text)
			}
		}
	}
}
