package welcome

import (
	"regexp/syntax"
	"slices"
	"strings"
)

// maxTrees bounds what one expression may stand for.
const maxTrees = 200

// Trees are the first segments of the paths that an expression matches, where they
// are a few and can be told from it: of "^/(debian|ubuntu)/(.*)" debian and ubuntu.
// They are nil if the expression leaves the segment open, or is no expression.
func Trees(expr string) []string {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	var trees []string
	for _, p := range expand(re) {
		name, ok := strings.CutPrefix(p.text, "/")
		name, _, more := strings.Cut(name, "/")
		if !ok || !more || name == "" {
			return nil
		}
		if !slices.Contains(trees, name) {
			trees = append(trees, name)
		}
	}
	return trees
}

// A prefix is how what an expression matches may begin.
type prefix struct {
	text string
	open bool // what follows in the expression may not follow text at once
}

// expand is every prefix of an expression; one that is open and empty if there are
// too many, or nothing can be said.
func expand(re *syntax.Regexp) []prefix {
	unknown := []prefix{{open: true}}
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpBeginLine:
		return []prefix{{}}
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return unknown
		}
		return []prefix{{text: string(re.Rune)}}
	case syntax.OpCapture:
		return expand(re.Sub[0])
	case syntax.OpQuest:
		return append(expand(re.Sub[0]), prefix{})
	case syntax.OpCharClass:
		var all []prefix
		for i := 0; i < len(re.Rune); i += 2 {
			if re.Rune[i+1]-re.Rune[i] > maxTrees {
				return unknown
			}
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				all = append(all, prefix{text: string(r)})
			}
		}
		return bounded(all)
	case syntax.OpAlternate:
		var all []prefix
		for _, sub := range re.Sub {
			all = append(all, expand(sub)...)
		}
		return bounded(all)
	case syntax.OpConcat:
		all := []prefix{{}}
		for _, sub := range re.Sub {
			if !slices.ContainsFunc(all, func(p prefix) bool { return !p.open }) {
				break
			}
			next := expand(sub)
			var longer []prefix
			for _, p := range all {
				if p.open || strings.Count(p.text, "/") > 1 { // its segment is over
					longer = append(longer, prefix{p.text, true})
					continue
				}
				for _, n := range next {
					longer = append(longer, prefix{p.text + n.text, n.open})
				}
			}
			all = bounded(longer)
		}
		return all
	}
	return unknown
}

func bounded(all []prefix) []prefix {
	if len(all) > maxTrees {
		return []prefix{{open: true}}
	}
	return all
}
