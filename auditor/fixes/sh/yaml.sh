# yaml_edit set PATH TEXT | unset PATH | flag PROGRAM --FLAG=VALUE | unflag PROGRAM --FLAG   <file >changed
#
# Changes one value of a YAML file in block style and nothing else, byte for byte. PATH is a.b.c, TEXT is YAML for one line. flag and
# unflag change the flag in the list of arguments of the container that runs PROGRAM in a pod's manifest. What is as wanted already
# comes out unchanged. Of any shape that isn't known for certain (tabs, anchors, tags, text over several lines, nested flow style,
# quoted keys, keys given twice, several documents) nothing is written: exit code 3, and a line on standard error says why.
yaml_edit() {
	YAML_DO=$1 YAML_AT=$2 YAML_TEXT=${3-} LC_ALL=C awk '
function refuse(line, why) {
	if (!refused) print "this YAML is not of a shape that is changed here: " (line ? "line " line ": " : "") why | "cat >&2"
	refused = 1
	exit 3
}
function after_colon(s) { match(s, /^ *(- +)?[A-Za-z0-9_][A-Za-z0-9_.\/-]*:/); return RLENGTH }
# The size of a list or a mapping of plain values in one line, 0 for anything else.
function flow(v, pairs, closing,    at, rest, comma) {
	at = 2
	for (comma = 1; ; comma = 0) {
		rest = substr(v, at)
		match(rest, /^ */)
		at += RLENGTH
		rest = substr(v, at)
		if (substr(rest, 1, 1) == closing) return at
		if (!comma) {
			if (!match(rest, /^, */)) return 0
			at += RLENGTH
			rest = substr(v, at)
		}
		if (pairs) {
			if (!match(rest, /^[A-Za-z0-9_][A-Za-z0-9_.\/-]*: +/)) return 0
			at += RLENGTH
			rest = substr(v, at)
		}
		if (!match(rest, /^"[^"\\]*"/) && !match(rest, /^\047[^\047]*\047/) && !match(rest, /^[A-Za-z0-9_.\/+][A-Za-z0-9_.\/+:-]*/)) return 0
		if (substr(rest, RLENGTH, 1) == ":") return 0
		at += RLENGTH
	}
}
# Sets kind and size of the value that v begins with; what is behind it may only be a comment.
function value(line, v,    c, rest) {
	c = substr(v, 1, 1)
	kind = ""; size = 0
	if (c == "\"") {
		if (match(v, /^"([^"\\]|\\.)*"/)) { kind = "double"; size = RLENGTH }
	} else if (c == "\047") {
		if (match(v, /^\047([^\047]|\047\047)*\047/)) { kind = "single"; size = RLENGTH }
	} else if (c == "[" || c == "{") {
		kind = c == "[" ? "list" : "map"
		size = flow(v, c == "{", c == "[" ? "]" : "}")
		if (!size) kind = ""
	} else if (c ~ /[A-Za-z0-9_.\/~+($=]/ || v ~ /^[-:?][^ ]/) {
		kind = "plain"
		rest = v
		if (match(v, / +#/)) rest = substr(v, 1, RSTART - 1)
		sub(/ +$/, "", rest)
		size = length(rest)
		if (rest ~ /: / || rest ~ /:$/) kind = ""
	}
	rest = substr(v, size + 1)
	if (kind == "" || (rest !~ /^ *$/ && rest !~ /^ +#/)) refuse(line, "a value that may go on in other lines, or means more than it shows")
}
function decoded(v) {
	v = substr(v, 1, size)
	if (kind == "double") return v ~ /\\/ ? UNKNOWN : substr(v, 2, size - 2)
	if (kind == "single") { v = substr(v, 2, size - 2); gsub(/\047\047/, "\047", v); return v }
	return kind == "plain" ? v : UNKNOWN
}
function push(t, indent, path) {
	depth++
	type[depth] = t; at[depth] = indent; where[depth] = path; number[depth] = ++blocks; count[depth] = 0
	if (t == "M") { block[path] = blocks; inner[path] = indent }
	else sequence[path] = 1
}
function pop(indent) { while (depth && at[depth] > indent) depth-- }
function key_line(i, indent, t, offset,    name, v) {
	if (!match(t, /^[A-Za-z0-9_][A-Za-z0-9_.\/-]*:/) || substr(t, RLENGTH + 1, 1) !~ /^( |)$/) refuse(i, "neither a key with a value nor an item of a list")
	name = substr(t, 1, RLENGTH - 1)
	v = substr(t, RLENGTH + 1)
	match(v, /^ */)
	offset += length(name) + 1 + RLENGTH
	v = substr(v, RLENGTH + 1)
	if ((number[depth], name) in known) refuse(i, "the key " name " is given twice")
	known[number[depth], name] = 1
	keys[number[depth]]++
	here = where[depth] "\n" name
	line[here] = i; indent_of[here] = indent; column[here] = offset + 1
	if (v == "" || v ~ /^#/) { shape[here] = "open"; open = 1; open_at = indent; return }
	value(i, v)
	shape[here] = kind; width[here] = size; text[here] = decoded(v)
}
function parse(    i, s, t, indent, rest, more, d, p) {
	for (i = 1; i <= lines; i++) {
		s = L[i]
		if (s ~ /[^ -~]/) refuse(i, "a tab, or a character beyond ASCII")
		if (s ~ /^ *$/ || s ~ /^ *#/) continue
		if (s ~ /^(---|\.\.\.|%)/) {
			if (started || s !~ /^--- *$/) refuse(i, "more than one document")
			started = 1
			continue
		}
		started = 1
		match(s, /^ */)
		indent = RLENGTH
		t = substr(s, indent + 1)
		if (t ~ /^-( |$)/) {
			if (open && indent >= open_at) push("S", indent, here)
			else pop(indent)
			open = 0
			if (!depth || type[depth] != "S" || at[depth] != indent) refuse(i, "an item of no list")
			match(t, /^- */)
			more = RLENGTH
			rest = substr(t, more + 1)
			p = where[depth] "\n[" (++count[depth]) "]"
			items[where[depth]] = count[depth]
			if (rest ~ /^[A-Za-z0-9_][A-Za-z0-9_.\/-]*:( |$)/) {
				push("M", indent + more, p)
				key_line(i, indent + more, rest, indent + more)
			} else {
				if (rest == "" || rest ~ /^(#|- )/) refuse(i, "a list in a list, or an item that begins in another line")
				value(i, rest)
				line[p] = i; column[p] = indent + more + 1; shape[p] = kind; width[p] = size; text[p] = decoded(rest)
			}
		} else {
			if (!depth) { if (indent) refuse(i, "the document is indented"); push("M", 0, "") }
			else if (open && indent > open_at) push("M", indent, here)
			else { pop(indent); if (depth && type[depth] == "S" && at[depth] == indent) depth-- }
			open = 0
			if (!depth || type[depth] != "M" || at[depth] != indent) refuse(i, "the indentation")
			key_line(i, indent, t, indent)
		}
		for (d = 1; d <= depth; d++) last[where[d]] = i
	}
}
function spaces(n,    s) { s = ""; while (n-- > 0) s = s " "; return s }
# The line with its value taken out: what is before it, and what is behind it (a comment).
function replaced(path, new,    s, before, behind) {
	s = L[line[path]]
	if (shape[path] == "open") {
		before = substr(s, 1, after_colon(s))
		behind = substr(s, length(before) + 1)
		if (new != "") before = before " "
	} else {
		before = substr(s, 1, column[path] - 1)
		behind = substr(s, column[path] + width[path])
		if (new == "") sub(/ +$/, "", before)
	}
	if (behind ~ /^ *$/) behind = ""
	else if (behind ~ /^#/) behind = " " behind
	L[line[path]] = before new behind
}
# Takes out the lines below a key that are its value.
function drop_below(path,    i) {
	for (i = line[path] + 1; i <= last[path]; i++) {
		if (L[i] ~ /^ *#/ || L[i] ~ / #/) refuse(i, "a comment in a value that would go")
		gone[i] = 1
	}
}
function scalars(path,    k) {
	for (k = 1; k <= items[path]; k++) if (!((path "\n[" k "]") in text)) return 0
	return 1
}
function to_path(dotted,    n, k, p) {
	n = split(dotted, part, ".")
	prefix[0] = ""
	for (k = 1; k <= n; k++) prefix[k] = prefix[k - 1] "\n" part[k]
	return n
}
function set_key(dotted, new,    n, j, k, p, indent, added) {
	n = to_path(dotted)
	for (j = n; j > 0; j--) if (prefix[j] in line) break
	p = prefix[j]
	if (j == n) {
		if (shape[p] == "map" || (p in block)) refuse(line[p], "there is a mapping where one value is to stand")
		if (p in sequence) { if (!scalars(p)) refuse(line[p], "there is a list of mappings where one value is to stand"); drop_below(p) }
		if (shape[p] != "open" && substr(L[line[p]], column[p], width[p]) == new) return
		replaced(p, new)
		return
	}
	if (j == 0) indent = 0
	else if (p in block) indent = inner[p]
	else if (p in sequence) refuse(line[p], "there is a list where a mapping is expected")
	else if (shape[p] == "open") indent = indent_of[p] + 2
	else if (shape[p] == "map" && substr(L[line[p]], column[p], width[p]) ~ /^\{ *\}$/) { replaced(p, ""); indent = indent_of[p] + 2 }
	else refuse(line[p], "there is something else where a mapping in block style is expected")
	added = ""
	for (k = j + 1; k < n; k++) { added = added spaces(indent) part[k] ":\n"; indent += 2 }
	added = added spaces(indent) part[n] ": " new
	if (j == 0) ending = added
	else below[line[p]] = added
}
function unset_key(dotted,    n, p, up) {
	n = to_path(dotted)
	p = prefix[n]
	if (!(p in line)) return
	if (p in last) drop_below(p)
	if (L[line[p]] ~ / #/) refuse(line[p], "a comment on a line that would go")
	gone[line[p]] = 1
	up = prefix[n - 1]
	if (keys[block[up]] > 1) return
	if (n == 1) refuse(line[p], "nothing else would be left")
	replaced(up, "{}")
}
function plain_name(word) { sub(/^--?/, "", word); sub(/=.*/, "", word); gsub(/_/, "-", word); return word }
function quoted(word) {
	if (word ~ /^--[A-Za-z0-9][A-Za-z0-9_.,\/:=+*-]*$/ && word !~ /:$/) return word
	gsub(/\047/, "\047\047", word)
	return "\047" word "\047"
}
function set_flag(program, wanted, there,    c, base, name, list, found, k, p, w, before, final, insert) {
	found = ""
	for (c = 1; ("\nspec\ncontainers\n[" c "]") in block; c++) {
		base = "\nspec\ncontainers\n[" c "]"
		if (((base "\ncommand") in line && !((base "\ncommand") in sequence)) || ((base "\nargs") in line && !((base "\nargs") in sequence)))
			refuse(line[base "\ncommand"], "arguments that are not a list in block style")
		w = ((base "\ncommand") in sequence) ? text[base "\ncommand\n[1]"] : text[base "\nname"]
		sub(/^.*\//, "", w)
		if (w != program) continue
		if (found != "") refuse(0, "several containers run " program)
		found = base
	}
	if (found == "") refuse(0, "no container runs " program " itself")
	name = plain_name(wanted)
	before = ""; p = ""; insert = ""
	for (c = 1; c <= 2; c++) {
		list = found (c == 1 ? "\ncommand" : "\nargs")
		if (!(list in sequence)) continue
		if (!scalars(list)) refuse(line[list], "arguments that are not plain text")
		for (k = 1; k <= items[list]; k++) {
			w = text[list "\n[" k "]"]
			if (w == UNKNOWN || w == "--") refuse(line[list "\n[" k "]"], "an argument that is not plain text")
			if (c == 1 && k == 1) { insert = list "\n[1]"; continue }
			if (w ~ /^-/ && plain_name(w) == name) {
				if (w !~ /=/) refuse(line[list "\n[" k "]"], "the value of " w " may be an argument of its own")
				if (p != "") refuse(line[list "\n[" k "]"], "--" name " is given twice")
				if (before ~ /^-[^=]*$/) refuse(line[list "\n[" k "]"], w " may be the value of " before)
				p = list "\n[" k "]"
				if (there == "" && items[list] == 1) refuse(line[p], "no argument would be left")
			}
			before = w
			final = list "\n[" k "]"
		}
	}
	if (there == "") { if (p != "") { if (L[line[p]] ~ / #/) refuse(line[p], "a comment on a line that would go"); gone[line[p]] = 1 } return }
	if (p != "") { if (text[p] != wanted) replaced(p, quoted(wanted)); return }
	if (before ~ /^--?[^=]+=/) insert = final
	if (insert == "") refuse(0, "no place that is certain to be right for one more argument")
	below[line[insert]] = substr(L[line[insert]], 1, column[insert] - 1) quoted(wanted)
}
BEGIN {
	UNKNOWN = "\001"
}
{ L[NR] = $0 }
END {
	if (refused) exit 3
	lines = NR
	parse()
	if (ENVIRON["YAML_DO"] == "set") set_key(ENVIRON["YAML_AT"], ENVIRON["YAML_TEXT"])
	else if (ENVIRON["YAML_DO"] == "unset") unset_key(ENVIRON["YAML_AT"])
	else if (ENVIRON["YAML_DO"] == "flag") set_flag(ENVIRON["YAML_AT"], ENVIRON["YAML_TEXT"], 1)
	else if (ENVIRON["YAML_DO"] == "unflag") set_flag(ENVIRON["YAML_AT"], ENVIRON["YAML_TEXT"], "")
	else refuse(0, "no such change: " ENVIRON["YAML_DO"])
	for (i = 1; i <= lines; i++) {
		if (!(i in gone)) print L[i]
		if (i in below) print below[i]
	}
	if (ending != "") print ending
}'
}
