package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// node is one value of the file, aliases followed.
type node struct {
	kind  kind
	text  string // of a scalar
	plain bool   // a scalar without quotes
	at    place
	keys  []entry // of a mapping, in file order
	items []*node // of a list
	size  int     // values in it, itself included, each alias counted again
}

// entry is one key of a mapping.
type entry struct {
	name  string
	plain bool
	at    place
	value *node
}

type kind int

const (
	null kind = iota
	scalar
	mapping
	list
)

// String returns k as it is called in a message.
func (k kind) String() string {
	return [...]string{"nothing", "one value", "a mapping", "a list"}[k]
}

// Bounds of one file. They are far above what people write, and low enough that
// no file costs more than a second or two: the parser's work grows with the
// square of the keys in one mapping.
const (
	maxDepth   = 64      // values inside values; the language needs 9
	maxValues  = 100_000 // aliases counted as often as they are used
	maxKeys    = 40_000  // two thousand services
	maxMapping = 2_000   // keys of one mapping
	maxTokens  = 200_000 // words and marks: five characters each in the largest file
	maxAliases = 10_000
)

// tree makes nodes of a YAML tree and stops at the first mistake in it.
type tree struct {
	anchors map[string]*node
	depth   int
}

// parse returns the one document of text; nil without a mistake is an empty one.
func parse(text string) (root *node, err error) {
	defer func() { // a file must not end the agent, whatever the library meets in it
		if r := recover(); r != nil {
			root, err = nil, &wrong{code: "syntax", what: fmt.Sprintf("cannot be read: %v", r)}
		}
	}()
	tokens := lexer.Tokenize(text)
	if err := bounded(tokens); err != nil {
		return nil, err
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // the decoder finds those
	if err != nil {
		return nil, syntax(err)
	}
	for i, doc := range file.Docs {
		if _, ok := doc.Body.(*ast.DirectiveNode); ok {
			return nil, at(doc.Body, "directive", "a %% directive; the file is YAML 1.2 and needs none")
		}
		if i > 0 && doc.Body != nil {
			w := at(doc.Body, "second_document", "a second document; a file is one")
			w.column = 1
			return nil, w
		}
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil, nil //nolint:nilnil // an empty document is no mistake of the syntax
	}
	t := tree{anchors: map[string]*node{}}
	return t.node(file.Docs[0].Body)
}

// wrong is a mistake that ends the reading.
type wrong struct {
	place

	code, what, hint string
}

// Error implements error.
func (w *wrong) Error() string { return w.what }

// at returns a mistake at n.
func at(n ast.Node, code, format string, args ...any) *wrong {
	return &wrong{place: placeOf(n.GetToken()), code: code, what: fmt.Sprintf(format, args...)}
}

func placeOf(t *token.Token) place { return place{t.Position.Line, t.Position.Column} }

// syntax returns the library's verdict as ours.
func syntax(err error) *wrong {
	w := &wrong{code: "syntax", what: err.Error()}
	var e interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &e) {
		w.what, w.place = e.GetMessage(), placeOf(e.GetToken())
	}
	if strings.Contains(w.what, "invalid key") {
		w.code, w.what = "key_not_text", "a key is one word"
	}
	return w
}

// bounded refuses what would make a recursive parser run for long: brackets in
// brackets, many dashes or colons in one line, many keys.
func bounded(tokens token.Tokens) error {
	var m measure
	for _, t := range tokens {
		if what := m.take(t); what != "" {
			code := "too_many_values"
			if strings.HasPrefix(what, "deeper") {
				code = "too_deep"
			}
			return &wrong{place: placeOf(t), code: code, what: what}
		}
	}
	return nil
}

// measure is how large a file is, up to some token.
type measure struct {
	line, row int // words and marks in the present line, outside brackets
	open      int // brackets
	keys      int
	tokens    int
	aliases   int
	blocks    []block // mappings around the present line, outermost first
}

// block is a mapping without brackets: where its keys begin, and how many.
type block struct{ column, keys int }

// take returns which bound t is past, or "".
func (m *measure) take(t *token.Token) string {
	if t.Position.Line != m.line {
		m.line, m.row = t.Position.Line, 0
	}
	m.tokens++
	if m.open == 0 {
		m.row++
	}
	switch t.Type { //nolint:exhaustive // only those that nest
	case token.SequenceStartType, token.MappingStartType:
		m.open++
	case token.SequenceEndType, token.MappingEndType:
		m.open--
	case token.AliasType:
		m.aliases++
	case token.MappingKeyType, token.MappingValueType:
		m.key(t)
	}
	return m.past(t)
}

// past returns the bound that the file is past at t, or "".
func (m *measure) past(t *token.Token) string {
	switch {
	case m.row > 2*maxDepth, m.open > maxDepth, t.Position.IndentNum > 2*maxDepth*8:
		return fmt.Sprintf("deeper than %d levels", maxDepth)
	case m.tokens > maxTokens:
		return fmt.Sprintf("more than %d words", maxTokens)
	case m.aliases > maxAliases:
		return fmt.Sprintf("more than %d aliases", maxAliases)
	case m.keys > maxKeys:
		return fmt.Sprintf("more than %d keys", maxKeys)
	case len(m.blocks) > 0 && m.blocks[len(m.blocks)-1].keys > maxMapping:
		return fmt.Sprintf("more than %d keys in one mapping", maxMapping)
	default:
		return ""
	}
}

// key counts the key that t makes one, in the mapping it belongs to.
func (m *measure) key(t *token.Token) {
	if m.keys++; m.open > 0 {
		return
	}
	column := t.Position.Column
	if t.Prev != nil && t.Type == token.MappingValueType && t.Prev.Position.Line == t.Position.Line {
		column = t.Prev.Position.Column
	}
	for len(m.blocks) > 0 && m.blocks[len(m.blocks)-1].column > column {
		m.blocks = m.blocks[:len(m.blocks)-1]
	}
	if len(m.blocks) == 0 || m.blocks[len(m.blocks)-1].column < column {
		m.blocks = append(m.blocks, block{column: column})
	}
	m.blocks[len(m.blocks)-1].keys++
}

// node returns n with all that is in it.
func (t *tree) node(n ast.Node) (*node, error) {
	t.depth++
	defer func() { t.depth-- }()
	if t.depth > maxDepth {
		return nil, at(n, "too_deep", "deeper than %d levels", maxDepth)
	}
	out, err := t.one(n)
	if err != nil {
		return nil, err
	}
	out.size = 1
	for _, k := range out.keys {
		out.size += k.value.size
	}
	for _, i := range out.items {
		out.size += i.size
	}
	if out.size > maxValues {
		return nil, at(n, "too_many_values", "more than %d values, aliases counted as often as they are used", maxValues)
	}
	return out, nil
}

// one returns n by its kind.
func (t *tree) one(n ast.Node) (*node, error) {
	switch n := n.(type) {
	case *ast.AnchorNode:
		return t.anchor(n)
	case *ast.AliasNode:
		return t.alias(n)
	case *ast.MappingNode:
		return t.mapping(placeOf(n.GetToken()), n.Values)
	case *ast.MappingValueNode:
		return t.mapping(placeOf(n.Key.GetToken()), []*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		return t.list(n)
	case *ast.TagNode:
		return nil, at(n, "tag", "tag %s; what a value is follows from its key", n.GetToken().Value)
	case *ast.NullNode:
		return &node{kind: null, at: placeOf(n.GetToken())}, nil
	case *ast.LiteralNode:
		return &node{kind: scalar, text: n.Value.GetToken().Value, at: placeOf(n.GetToken())}, nil
	default:
		if _, ok := n.(ast.ScalarNode); !ok {
			return nil, at(n, "syntax", "%s has no meaning here", n.GetToken().Value)
		}
		tk := n.GetToken()
		quoted := tk.Type == token.SingleQuoteType || tk.Type == token.DoubleQuoteType
		return &node{kind: scalar, text: tk.Value, plain: !quoted, at: placeOf(tk)}, nil
	}
}

func (t *tree) anchor(n *ast.AnchorNode) (*node, error) {
	out, err := t.node(n.Value)
	if err != nil {
		return nil, err
	}
	t.anchors[n.Name.GetToken().Value] = out
	return out, nil
}

func (t *tree) alias(n *ast.AliasNode) (*node, error) {
	name := n.Value.GetToken().Value
	if found, ok := t.anchors[name]; ok {
		same := *found
		return &same, nil
	}
	w := at(n, "unknown_alias", "there is no anchor &%s above", name)
	if near := nearestKey(name, t.anchors); near != "" {
		w.hint = "did you mean *" + near + "?"
	}
	return nil, w
}

func (t *tree) mapping(where place, values []*ast.MappingValueNode) (*node, error) {
	out := &node{kind: mapping, at: where}
	for _, v := range values {
		k, ok := v.Key.(ast.ScalarNode)
		if !ok {
			return nil, at(v.Key, "key_not_text", "a key is one word")
		}
		tk := k.GetToken()
		value, err := t.node(v.Value)
		if err != nil {
			return nil, err
		}
		plain := tk.Type != token.SingleQuoteType && tk.Type != token.DoubleQuoteType
		out.keys = append(out.keys, entry{name: tk.Value, plain: plain, at: placeOf(tk), value: value})
	}
	if len(out.keys) > 0 && out.at.line == out.keys[0].at.line && out.at.column > out.keys[0].at.column {
		out.at = out.keys[0].at // a block mapping begins at its first key, not at the colon
	}
	return out, nil
}

func (t *tree) list(n *ast.SequenceNode) (*node, error) {
	out := &node{kind: list, at: placeOf(n.GetToken())}
	for _, v := range n.Values {
		item, err := t.node(v)
		if err != nil {
			return nil, err
		}
		out.items = append(out.items, item)
	}
	return out, nil
}
