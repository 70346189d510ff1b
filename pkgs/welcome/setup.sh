#!/bin/sh
# Points the package managers of this machine at the cache @BASE@.
#
#   curl -fsS @BASE@/-/setup.sh | sh
#   curl -fsS @BASE@/-/setup.sh | sh -s -- --dry-run
#   curl -fsS @BASE@/-/setup.sh | sh -s -- --only apt,pip
#   curl -fsS @BASE@/-/setup.sh | sh -s -- --undo
#
# Everything is in functions, and the last line calls them: of half a script nothing runs.

BASE='@BASE@'
# Type, path and names of what the cache has.
HUBS='@HUBS@'

CLIENTS='apt dnf apk pacman pip npm go cargo maven docker'
TAB='	'
NL='
'

usage() {
	cat <<END
Usage: setup.sh [OPTION]...
Points the package managers of this machine at $BASE.

  --only LIST   of $(echo "$CLIENTS" | tr ' ' ,), separated by commas
  --dry-run     say and show what would be done, and do nothing
  --undo        put back what was there before, to the byte, and remove what was made
  --user        files of this user alone, also for root
  --no-check    do not ask the cache for a repository before it is used
  --root DIR    another root directory, of an image say; clients are looked for there
END
}

# say tells the user; 3 is the standard output, also of functions that write a file.
say() { printf '%s\n' "$*" >&3; }
oops() { printf 'setup.sh: %s\n' "$*" >&2; exit 2; }

# skip says why a file stays as it is, and fails.
skip() {
	say "$client: $*"
	return 1
}

# alone says of a client, when it is set up, that it has nobody else to ask.
alone() {
	[ -z "$CHANGED" ] || say "$client: has no second choice, so it needs the cache from now on, or --undo"
}

# overridden says that a variable counts for more than files.
overridden() {
	[ -z "$2" ] || say "$client: $1 is set in the environment, and counts for more than any file"
}

# has finds a program of the machine that is set up.
has() {
	if [ -z "$ROOT" ]; then
		command -v "$1" >/dev/null 2>&1
		return
	fi
	for dir in /usr/bin /usr/local/bin /bin /usr/sbin /sbin /usr/local/go/bin; do
		[ -x "$ROOT$dir/$1" ] && return 0
	done
	return 1
}

# get writes what is at a URL.
get() {
	if command -v curl >/dev/null 2>&1; then
		curl -fsS --max-time 30 "$1" 2>/dev/null
	elif command -v wget >/dev/null 2>&1; then
		wget -q -O - "$1" 2>/dev/null
	else
		return 1
	fi
}

# serves asks the cache for a file that a repository must have.
serves() {
	[ -n "$CHECK" ] || return 0
	get "$1" >/dev/null
}

# hub finds the path of what the cache has, by type and name; of any name if none is given.
hub() {
	printf '%s\n' "$HUBS" | awk -v type="$1" -v name="$2" '
		$1 == type && (name == "" || index("," $3 ",", "," name ",")) { print $2; found = 1; exit }
		END { exit !found }'
}

# sum is how a file is known again. Not every busybox has cksum.
sum() {
	if command -v cksum >/dev/null 2>&1; then
		cksum <"$1"
	else
		md5sum <"$1"
	fi | tr -d '\t\n' | tr ' ' -
}

# What was done is in $STATE/done: what, client, sum after it, number, file.
# What a changed file was before is $STATE/NUMBER.

# record finds the line of a file, and sets what, number and after.
record() {
	what='' number='' after=''
	[ -f "$STATE/done" ] || return 1
	while IFS="$TAB" read -r what _ after number path; do
		[ "$path" = "$1" ] && return 0
	done <"$STATE/done"
	what='' number='' after=''
	return 1
}

# note writes a line. Made-up paths with tabs and line ends do not come here.
note() { printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$STATE/done"; }

forget() {
	awk -F '\t' -v path="$1" '$5 != path' "$STATE/done" >"$STATE/done.new" && mv -f "$STATE/done.new" "$STATE/done"
}

# edit makes a file what a function writes, which gets the file as it was before
# this script first came. edit FILE FUNCTION [ARGUMENT]...
edit() {
	file=$1
	shift
	case $file in *"$TAB"* | *"$NL"*) skip "a name that cannot be written down: $file" || return ;; esac
	if [ -L "$file" ]; then
		[ -z "$ROOT" ] || skip "$file is a link, which may lead out of $ROOT: left as it is" || return
		file=$(readlink -f "$file") || skip "$file leads nowhere: left as it is" || return
	fi
	if [ -e "$file" ] && { [ ! -f "$file" ] || [ ! -r "$file" ]; }; then
		skip "$file is no file that can be read: left as it is" || return
	fi
	old=/dev/null
	[ -e "$file" ] && old=$file
	if record "$file"; then
		if [ ! -e "$file" ] || [ "$(sum "$file")" != "$after" ]; then
			skip "$file was changed since it was set up: left as it is" || return
		fi
		old=/dev/null
		[ "$what" = changed ] && old=$STATE/$number
	fi
	"$@" "$old" >"$TMP/new" || return
	if [ "$old" != /dev/null ] && cmp -s "$old" "$TMP/new" && [ -z "$what" ]; then
		return 0
	elif [ -e "$file" ] && cmp -s "$file" "$TMP/new"; then
		say "$client: $file is set up already"
		return 0
	fi
	if [ -n "$DRY" ]; then
		say "$client: would write $file"
		now=/dev/null
		[ -e "$file" ] && now=$file
		diff -u "$now" "$TMP/new" 2>/dev/null | sed '1,2d; s/^/    /'
		return 0
	fi
	write "$file"
}

# write puts $TMP/new in the place of a file, and keeps what was there.
write() {
	directories "${1%/*}" || skip "${1%/*} cannot be made" || return
	if [ -e "$1" ]; then
		# A file of the same owner and mode takes its place at once. What was there is
		# kept itself, by a second name, or where that cannot be as a copy.
		cp -p "$1" "$1.cache-proxy" && cat "$TMP/new" >"$1.cache-proxy" || skip "$1 cannot be written" || return
	else
		cat "$TMP/new" >"$1.cache-proxy" || skip "$1 cannot be written" || return
	fi
	if [ -z "$what" ] && [ -e "$1" ]; then
		number=0
		while [ -e "$STATE/$number" ]; do number=$((number + 1)); done
		if ! ln "$1" "$STATE/$number" 2>/dev/null && ! { cp -p "$1" "$STATE/$number" && touch -r "$1" "$STATE/$number"; }; then
			rm -f "$1.cache-proxy" "$STATE/$number"
			skip "$1 cannot be kept" || return
		fi
		what=changed
	fi
	[ ! -f "$STATE/done" ] || forget "$1"
	[ -n "$what" ] || what=created
	note "$what" "$client" "$(sum "$TMP/new")" "${number:--}" "$1"
	mv -f "$1.cache-proxy" "$1" || skip "$1 cannot be written" || return
	say "$client: $what $1"
	CHANGED=yes
}

# directories makes one, and those that lead to it.
directories() {
	[ -d "$1" ] && return 0
	[ -n "$1" ] || return 0
	directories "${1%/*}" && mkdir "$1" && note directory "$client" - - "$1"
}

# unchanged says whether a file is as it was written, or as it was before.
unchanged() {
	[ ! -e "$path" ] || [ "$(sum "$path")" != "$after" ] || return 0
	[ "$what" != changed ] || ! cmp -s "$path" "$STATE/$number" || return 0
	left=yes
	if [ "$what" = changed ]; then
		say "$client: $path was changed since, or is gone: left as it is. What it was before is $STATE/$number"
	else
		say "$client: $path was changed since: left as it is"
	fi
	return 1
}

undo() {
	if [ ! -f "$STATE/done" ]; then
		say "nothing was set up here"
		return 0
	fi
	# The last first: a directory comes before what was made in it.
	awk '{ line[NR] = $0 } END { for (i = NR; i; i--) print line[i] }' "$STATE/done" >"$TMP/undo"
	left=''
	while IFS="$TAB" read -r what client after number path; do
		wanted "$client" || { left=yes; continue; }
		if [ -n "$DRY" ]; then
			[ "$what" = directory ] || say "$client: would put back $path"
			continue
		fi
		case $what in
		directory)
			rmdir "$path" 2>/dev/null
			;;
		created)
			if [ -e "$path" ]; then
				unchanged || continue
				rm -f "$path" || { left=yes; continue; }
			fi
			say "$client: removed $path"
			;;
		changed)
			unchanged || continue
			restore "$STATE/$number" "$path" || { left=yes; say "$client: $path cannot be written; what it was is $STATE/$number"; continue; }
			say "$client: put back $path"
			;;
		esac
		forget "$path"
	done <"$TMP/undo"
	if [ -z "$left$DRY" ]; then
		leave
	fi
	return 0
}

# enter makes the directory of what was done. Those that there were not before are
# listed in it, the last first.
enter() {
	made='' dir=$STATE
	while [ -n "$dir" ] && [ ! -d "$dir" ]; do
		made=$made$dir$NL
		dir=${dir%/*}
	done
	mkdir -p "$STATE" || oops "$STATE cannot be made"
	[ -f "$STATE/made" ] || printf %s "$made" >"$STATE/made"
}

leave() {
	cp "$STATE/made" "$TMP/made"
	rm -f "$STATE/done" "$STATE/setup.sh" "$STATE/made"
	while IFS= read -r dir; do rmdir "$dir" 2>/dev/null; done <"$TMP/made"
}

# restore moves a kept file back. On another file system that is a copy with owner,
# mode and time.
restore() {
	if [ "$(stat -c %d "$1")" = "$(stat -c %d "${2%/*}")" ]; then
		mv -f "$1" "$2"
		return
	fi
	cp -p "$1" "$2.cache-proxy" && touch -r "$1" "$2.cache-proxy" && mv -f "$2.cache-proxy" "$2" && rm -f "$1"
}

# swap writes a file with words replaced, in lines that are no comments. $TMP/map
# has word and replacement a line.
swap() {
	awk -v map="$TMP/map" '
		BEGIN { while ((getline line < map) > 0) { split(line, part, "\t"); by[part[1]] = part[2] } }
		/^[ \t]*#/ { print; next }
		{
			out = ""
			rest = $0
			while (match(rest, /[^ \t]+/)) {
				word = substr(rest, RSTART, RLENGTH)
				if (word in by) {
					word = by[word]
					if (put[word] == NR) word = "" # two mirrors are one now
					else put[word] = NR
				}
				out = out substr(rest, 1, RSTART - 1) word
				rest = substr(rest, RSTART + RLENGTH)
			}
			print out rest
		}' "$1"
}

# path is that of a URL, without a slash at its end; it fails of one that is not
# plain http or https, or has credentials.
path() {
	case $1 in
	*[!A-Za-z0-9.:/_~%+-]*) return 1 ;; # @, [, quotes
	http://*/* | https://*/*) ;;
	*) return 1 ;;
	esac
	rest=${1#*://}
	rest=/${rest#*/}
	printf '%s\n' "${rest%/}"
}

# --- apt

# apt_sources lists URI, suite, key and whether that is a field of its own, of every source.
apt_sources() {
	case $1 in
	*.sources)
		awk '
			function flush(   i, j, n, m, us, ss) {
				n = split(uris, us, " "); m = split(suites, ss, " ")
				for (i = 1; i <= n; i++) for (j = 1; j <= m; j++) print us[i] "\t" ss[j] "\t" (key == "" ? "-" : key)
				uris = suites = key = field = ""
			}
			/^[ \t]*$/ { flush(); next }
			/^#/ { next }
			/^[ \t]/ { value = $0; if (field == "signed-by") value = " ..." }
			/^[^ \t]/ { field = tolower($0); sub(/[ \t]*:.*/, "", field); value = $0; sub(/^[^:]*:/, "", value) }
			field == "uris" { uris = uris " " value }
			field == "suites" { suites = suites " " value }
			field == "signed-by" { gsub(/^[ \t]+|[ \t]+$/, "", value); key = key value }
			END { flush() }' "$2"
		;;
	*)
		awk '
			/^[ \t]*deb(-src)?[ \t]/ {
				line = $0; key = "-"
				sub(/^[ \t]*deb(-src)?[ \t]+/, "", line)
				if (match(line, /^\[[^]]*\][ \t]*/)) {
					options = substr(line, 2, RLENGTH - 2); line = substr(line, RSTART + RLENGTH)
					if (match(options, /signed-by=[^] \t]+/)) key = substr(options, RSTART + 10, RLENGTH - 10)
				}
				split(line, part, /[ \t]+/)
				if (part[2] != "") print part[1] "\t" part[2] "\t" key
			}' "$2"
		;;
	esac
}

# family is the first word of a name: of debian-security, debian-archive-keyring.gpg.
family() {
	name=${1##*/}
	name=${name%%.*}
	printf '%s\n' "${name%%-*}"
}

# no notes a source that stays, and says why but once.
no() {
	grep -q -x -F -e "$uri" "$TMP/no" || say "apt: ${sources##*/}: $uri $*: left as it is"
	printf '%s\n' "$uri" >>"$TMP/no"
}

# apt_choose finds what the sources of a file become, and writes that to $TMP/map.
# A URI that cannot be used for one of its suites stays. A source is known by its path. So that no vendor's repository is taken for the
# distribution's, its key is named like it, or, where it has none of its own, the file.
apt_choose() {
	: >"$TMP/map"
	: >"$TMP/no"
	apt_sources "$1" "$2" >"$TMP/sources"
	while IFS="$TAB" read -r uri suite key; do
		below=$(path "$uri") || continue
		case $uri in "$BASE"/*) continue ;; esac
		at=$(hub apt "${below#/}") || continue
		want=$(family "$below")
		case $key,${1##*/} in
		-,sources.list | -,"$want"*) ;;
		-,*) no "has no key of its own, and may be another $want"; continue ;;
		*) [ "$(family "$key")" = "$want" ] || { no "is signed by another key than that of $want"; continue; } ;;
		esac
		case $suite in
		*/) release=$suite ;;
		*) release=dists/$suite/ ;;
		esac
		serves "$BASE$at/${release}InRelease" || serves "$BASE$at/${release}Release" || { no "has $suite, which the cache's ${at#/} has not"; continue; }
		printf '%s\t%s\n' "$uri" "$at" >>"$TMP/map"
	done <"$TMP/sources"
	sort -u "$TMP/map" >"$TMP/found"
	: >"$TMP/map"
	while IFS="$TAB" read -r uri at; do
		grep -q -x -F -e "$uri" "$TMP/no" || printf '%s\t%s\n' "$uri" "$BASE$at" >>"$TMP/map"
	done <"$TMP/found"
	[ -s "$TMP/map" ]
}

setup_apt() {
	[ -d "$ROOT/etc/apt" ] || return 0
	machine || return 0
	for sources in "$ROOT/etc/apt/sources.list" "$ROOT"/etc/apt/sources.list.d/*.list "$ROOT"/etc/apt/sources.list.d/*.sources; do
		[ -f "$sources" ] || continue
		before=$sources
		record "$sources" && [ "$what" = changed ] && before=$STATE/$number
		apt_choose "$sources" "$before" || continue
		edit "$sources" swap
	done
	alone # a list of mirrors (mirror+file:) is none: apt 2.6 does not go on to the second when it cannot connect
	return 0
}

# --- dnf

# dnf_repos lists section and base URL of every repository, from a comment if that
# is the only one.
dnf_repos() {
	awk '
		function flush() { if (section != "" && (active != "" || off != "")) print section "\t" (active != "" ? active : off); active = off = "" }
		/^\[/ { flush(); section = $0; gsub(/^\[|\].*$/, "", section); next }
		/^baseurl[ \t]*=/ { value = $0; sub(/^[^=]*=[ \t]*/, "", value); sub(/[ \t,].*/, "", value); active = value }
		/^#[ \t]*baseurl[ \t]*=/ { value = $0; sub(/^[^=]*=[ \t]*/, "", value); sub(/[ \t,].*/, "", value); off = value }
		END { flush() }' "$1"
}

# dnf_expand replaces the variables of a repository's URL by their values here.
dnf_expand() {
	version='' like=''
	if [ -f "$ROOT/etc/os-release" ]; then
		# shellcheck disable=SC1091
		version=$(. "$ROOT/etc/os-release"; printf %s "${VERSION_ID:-}")
		# shellcheck disable=SC1091
		like=$(. "$ROOT/etc/os-release"; printf %s "${ID:-} ${ID_LIKE:-}")
	fi
	case " $like " in *" rhel "* | *" centos "*) version=${version%%.*} ;; esac
	set -- "$1" "$(uname -m)"
	printf '%s\n' "$1" | sed "s|[\$]releasever|$version|g; s|[\$]{releasever}|$version|g; s|[\$]basearch|$2|g; s|[\$]{basearch}|$2|g" |
		while IFS= read -r line; do
			for var in "$ROOT"/etc/dnf/vars/* "$ROOT"/etc/yum/vars/*; do
				[ -f "$var" ] || continue
				value=$(head -n 1 "$var")
				case $value in *[!A-Za-z0-9./_-]*) continue ;; esac
				line=$(printf '%s\n' "$line" | sed "s|[\$]${var##*/}|$value|g; s|[\$]{${var##*/}}|$value|g")
			done
			printf '%s\n' "$line"
		done
}

dnf_choose() {
	: >"$TMP/map"
	dnf_repos "$1" >"$TMP/sources"
	while IFS="$TAB" read -r section url; do
		case $url in http://*/* | https://*/*) ;; *) continue ;; esac
		case $url in "$BASE"/* | *[!A-Za-z0-9.:/_~%+\${}-]*) continue ;; esac
		raw=${url#*://}
		raw=${raw#*/}
		# shellcheck disable=SC2016
		case $raw in '$contentdir/'*) [ -f "$ROOT/etc/dnf/vars/contentdir" ] && raw=$(head -n 1 "$ROOT/etc/dnf/vars/contentdir")/${raw#*/} ;; esac
		raw=${raw#pub/}
		tree=${raw%%/*}
		rest=${raw#*/}
		at=$(hub rpm "$tree") || continue
		[ "$tree" = fedora ] && rest=${rest#linux/}
		probe=$(dnf_expand "$BASE$at/${rest%/}/repodata/repomd.xml")
		case $probe in *\$*) say "dnf: [$section] has variables that are not known here: left as it is"; continue ;; esac
		serves "$probe" || { say "dnf: the cache has no $probe: [$section] is left as it is"; continue; }
		printf '%s\t%s\n' "$section" "$BASE$at/$rest" >>"$TMP/map"
	done <"$TMP/sources"
	[ -s "$TMP/map" ]
}

# dnf_swap puts the cache before the base URLs of a repository. Lists of mirrors
# would be asked besides, so they become comments.
dnf_swap() {
	awk -v map="$TMP/map" '
		BEGIN { while ((getline line < map) > 0) { split(line, part, "\t"); by[part[1]] = part[2] } }
		NR == FNR {
			if (/^\[/) { section = $0; gsub(/^\[|\].*$/, "", section) }
			else if (/^baseurl[ \t]*=/) active[section] = 1
			next
		}
		/^\[/ { section = $0; gsub(/^\[|\].*$/, "", section); print; next }
		!(section in by) { print; next }
		/^(metalink|mirrorlist)[ \t]*=/ { print "#" $0; next }
		/^baseurl[ \t]*=/ { value = $0; sub(/^[^=]*=[ \t]*/, "", value); print "baseurl=" by[section] " " value; next }
		/^#[ \t]*baseurl[ \t]*=/ && !active[section] && !put[section]++ { print; print "baseurl=" by[section]; next }
		{ print }' "$1" "$1"
}

setup_dnf() {
	[ -d "$ROOT/etc/yum.repos.d" ] || return 0
	machine || return 0
	for repo in "$ROOT"/etc/yum.repos.d/*.repo; do
		[ -f "$repo" ] || continue
		before=$repo
		record "$repo" && [ "$what" = changed ] && before=$STATE/$number
		if dnf_choose "$before"; then
			edit "$repo" dnf_swap
		fi
	done
	[ -z "$CHANGED" ] || say "dnf: only repositories that had a baseurl have a second choice; --undo does without the cache"
	return 0
}

# --- apk

setup_apk() {
	file=$ROOT/etc/apk/repositories
	[ -f "$file" ] || return 0
	machine || return 0
	before=$file
	record "$file" && [ "$what" = changed ] && before=$STATE/$number
	: >"$TMP/map"
	arch=$(uname -m)
	[ -f "$ROOT/etc/apk/arch" ] && arch=$(head -n 1 "$ROOT/etc/apk/arch")
	awk '!/^[ \t]*#/ { for (i = 1; i <= NF; i++) if ($i ~ /^https?:/) print $i }' "$before" >"$TMP/sources"
	while IFS= read -r uri; do
		below=$(path "$uri") || continue
		case $uri in "$BASE"/*) continue ;; esac
		tree=${below#/}
		at=$(hub apk "${tree%%/*}") || continue
		new=$BASE$at/${tree#*/}
		serves "$new/$arch/APKINDEX.tar.gz" || { say "apk: the cache has no $new/$arch: left as it is"; continue; }
		printf '%s\t%s\n' "$uri" "$new" >>"$TMP/map"
	done <"$TMP/sources"
	if [ -s "$TMP/map" ]; then
		edit "$file" swap
		alone
	fi
	return 0
}

# --- pacman

# pacman_before puts a server before the first one, which pacman goes on to.
pacman_before() {
	awk -v server="Server = $new" '
		!done && /^[ \t]*Server[ \t]*=/ { print server; done = 1 }
		{ print }
		END { if (!done) print server }' "$1"
}

setup_pacman() {
	file=$ROOT/etc/pacman.d/mirrorlist
	[ -f "$file" ] || return 0
	machine || return 0
	before=$file
	record "$file" && [ "$what" = changed ] && before=$STATE/$number
	first=$(sed -n 's/^#*[ \t]*Server[ \t]*=[ \t]*//p' "$before" | grep -E -m 1 '[$]repo/os/[$]arch/*$')
	# shellcheck disable=SC2016
	case $first in
	http://*/*'$repo/os/$arch'* | https://*/*'$repo/os/$arch'*) ;;
	*) skip "$file names no servers of Arch Linux's form: left as it is" || return 0 ;;
	esac
	tree=${first#*://}
	tree=${tree#*/}
	# shellcheck disable=SC2016
	tree=${tree%%'$repo'*}
	tree=${tree%/}
	tree=${tree##*/}
	[ -n "$tree" ] || tree=archlinux # mirrors that have nothing else
	at=$(hub pacman "$tree") || return 0
	new="$BASE$at/\$repo/os/\$arch"
	if ! serves "$BASE$at/core/os/$(uname -m)/core.db"; then
		say "pacman: the cache has no core.db of ${at#/}: left as it is"
		return 0
	fi
	edit "$file" pacman_before
	return 0
}

# --- pip

pip_conf() {
	awk -v index_url="index-url = $BASE$at/simple/" -v trusted="$trusted" '
		NR == FNR { if (/^[ \t]*\[global\]/) has = 1; next }
		FNR == 1 && !has { add(); print "" }
		{ print }
		/^[ \t]*\[global\]/ && !done { add() }
		function add() { if (!has) print "[global]"; print index_url; if (trusted != "") print "trusted-host = " trusted; done = 1 }
		' "$1" "$1"
	if [ ! -s "$1" ]; then
		printf '[global]\nindex-url = %s\n' "$BASE$at/simple/"
		[ -z "$trusted" ] || printf 'trusted-host = %s\n' "$trusted"
	fi
}

pip_edit() {
	if grep -q -i -E '^[[:space:]]*(index[-_]url|trusted[-_]host|no[-_]index)[[:space:]]*[=:]' "$1"; then
		skip "$file names an index or trusted-host already: left as it is" || return
	fi
	pip_conf "$1"
}

setup_pip() {
	at=$(hub pypi) || return 0
	has pip || has pip3 || return 0
	trusted=
	case $BASE in
	http://localhost* | http://127.* | http://\[::1\]*) ;;
	http://*)
		trusted=${BASE#http://}
		trusted=${trusted%%/*}
		;;
	esac
	conf=$ROOT/etc/pip.conf
	if [ "$SCOPE" = user ]; then
		conf=$ROOT${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf
		if [ ! -f "$conf" ] && [ -f "$ROOT$HOME/.pip/pip.conf" ]; then
			conf=$ROOT$HOME/.pip/pip.conf
		fi
	fi
	edit "$conf" pip_edit
	alone # an extra index is no second choice: it is asked always, and the higher version wins
	overridden PIP_INDEX_URL "${PIP_INDEX_URL:-}"
	overridden PIP_CONFIG_FILE "${PIP_CONFIG_FILE:-}"
	return 0
}

# --- npm

npm_edit() {
	if grep -q -E '^[[:space:]]*registry[[:space:]]*=' "$1"; then
		skip "$file names a registry already: left as it is" || return
	fi
	ended "$1"
	printf 'registry=%s/\n' "$BASE$at"
}

# ended writes a file, with an end of its last line.
ended() { awk '{ print }' "$1"; }

setup_npm() {
	at=$(hub npm) || return 0
	has npm || return 0
	conf=$ROOT$HOME/.npmrc
	if [ "$SCOPE" = machine ]; then
		conf=$ROOT/etc/npmrc
		if [ -z "$ROOT" ]; then
			found=$(npm config get globalconfig 2>/dev/null </dev/null)
			case $found in /*) conf=$found ;; esac
		fi
	fi
	edit "$conf" npm_edit
	alone
	return 0
}

# --- go: it has no file for the whole machine that is not part of it.

go_edit() {
	proxies=$(sed -n 's/^GOPROXY=//p' "$1")
	[ -n "$proxies" ] || proxies=$default
	case $proxies in
	off | *"$NL"*) skip "$file has GOPROXY=$proxies: left as it is" || return ;;
	esac
	ended "$1" | sed '/^GOPROXY=/d'
	# Behind | it goes on to the next whatever goes wrong.
	printf 'GOPROXY=%s|%s\n' "$BASE$at" "$proxies"
}

setup_go() {
	at=$(hub go) || return 0
	has go || return 0
	default=direct
	conf=$ROOT${XDG_CONFIG_HOME:-$HOME/.config}/go/env
	if [ -z "$ROOT" ]; then
		found=$(go env GOENV 2>/dev/null)
		case $found in /*) conf=$found ;; esac
		found=$(GOENV=off GOPROXY='' go env GOPROXY 2>/dev/null)
		[ -z "$found" ] || default=$found
	fi
	edit "$conf" go_edit
	overridden GOPROXY "${GOPROXY:-}"
	return 0
}

# --- cargo

cargo_edit() {
	if grep -q -E '^[[:space:]]*(\[source[].]|source[[:space:].=])' "$1"; then
		skip "$file replaces a source already: left as it is" || return
	fi
	ended "$1"
	[ ! -s "$1" ] || echo
	printf '[source.crates-io]\nreplace-with = "cache-proxy"\n\n[source.cache-proxy]\nregistry = "sparse+%s/"\n' "$BASE$at"
}

setup_cargo() {
	at=$(hub cargo) || return 0
	has cargo || [ -d "$ROOT$HOME/.cargo" ] || return 0
	home=$ROOT$HOME/.cargo
	[ -n "$ROOT" ] || home=${CARGO_HOME:-$home}
	conf=$home/config.toml
	[ ! -f "$home/config" ] || conf=$home/config
	edit "$conf" cargo_edit
	alone
	return 0
}

# --- maven

maven_mirror() {
	printf '  <mirrors>\n    <mirror>\n      <id>cache-proxy</id>\n      <mirrorOf>central</mirrorOf>\n      <url>%s/</url>\n    </mirror>\n  </mirrors>\n' "$BASE$at"
}

maven_edit() {
	if [ ! -s "$1" ]; then
		printf '<settings>\n'
		maven_mirror
		printf '</settings>\n'
		return
	fi
	if grep -q '<mirror' "$1" || [ "$(grep -c '</settings>' "$1")" != 1 ] || ! grep -q -E '^[[:space:]]*</settings>[[:space:]]*$' "$1"; then
		skip "$file has mirrors already, or another form: left as it is" || return
	fi
	maven_mirror >"$TMP/mirror"
	awk -v mirror="$TMP/mirror" '/<\/settings>/ { while ((getline line < mirror) > 0) print line } { print }' "$1"
}

setup_maven() {
	at=$(hub maven) || return 0
	has mvn || return 0
	edit "$ROOT$HOME/.m2/settings.xml" maven_edit
	alone
	return 0
}

# --- docker: it goes on to the registry itself when a mirror fails.

docker_edit() {
	new="\"registry-mirrors\": [\"$BASE\"]"
	case $BASE in
	http://*)
		host=${BASE#http://}
		new="$new, \"insecure-registries\": [\"${host%%/*}\"]"
		;;
	esac
	if [ ! -s "$1" ] || [ "$(tr -d ' \t\r\n' <"$1")" = '{}' ]; then
		printf '{%s}\n' "$new"
		return
	fi
	case $(tr -d ' \t\r\n' <"$1") in
	*\"registry-mirrors\"* | *\"insecure-registries\"*) skip "$file names mirrors or insecure registries already: left as it is" || return ;;
	'{"'*'}') ;;
	*) skip "$file has another form: left as it is" || return ;;
	esac
	awk -v new="$new" '!done && (i = index($0, "{")) { print substr($0, 1, i) new "," substr($0, i + 1); done = 1; next } { print }' "$1"
}

setup_docker() {
	at=$(hub docker) || return 0
	has docker || has dockerd || return 0
	machine || return 0
	case ${BASE#*://} in
	*/*) skip "wants a mirror without a path, and $BASE has one" || return 0 ;;
	esac
	edit "$ROOT/etc/docker/daemon.json" docker_edit
	[ -z "$CHANGED" ] || say "docker: restart it to read that"
	return 0
}

# ---

# machine says whether files of the machine may be written.
machine() {
	[ "$SCOPE" = machine ] && return 0
	say "$client: is configured for the whole machine, which needs root: left as it is"
	return 1
}

# wanted says whether --only has a client, or there is none.
wanted() {
	case ",$ONLY," in
	,, | *",$1,"*) return 0 ;;
	esac
	return 1
}

main() {
	ROOT='' ONLY='' DRY='' UNDO='' CHECK=yes SCOPE=user
	[ "$(id -u)" != 0 ] || SCOPE=machine
	while [ $# -gt 0 ]; do
		case $1 in
		--only | --root)
			[ $# -gt 1 ] || oops "$1 needs a value"
			option=$1=$2
			shift
			;;
		*) option=$1 ;;
		esac
		shift
		case $option in
		--only=*) ONLY=${option#*=} ;;
		--root=/) ;;
		--root=/*)
			ROOT=${option#*=}
			ROOT=${ROOT%/}
			;;
		--root=*) oops "--root needs a whole path" ;;
		--dry-run) DRY=yes ;;
		--undo) UNDO=yes ;;
		--user) SCOPE=user ;;
		--no-check) CHECK= ;;
		-h | --help)
			usage
			return 0
			;;
		*) oops "unknown option $option; --help lists them" ;;
		esac
	done
	for client in $(printf %s "$ONLY" | tr , ' '); do
		case " $CLIENTS " in *" $client "*) ;; *) oops "unknown client $client; there are $CLIENTS" ;; esac
	done
	[ -n "${HOME:-}" ] || HOME=/
	[ "$HOME" != / ] || HOME=
	command -v awk >/dev/null 2>&1 || oops "awk is needed"

	STATE=$ROOT/var/lib/cache-proxy-setup
	[ "$SCOPE" = machine ] || STATE=$ROOT${XDG_STATE_HOME:-$HOME/.local/state}/cache-proxy-setup
	TMP=$(mktemp -d) || oops "there is no temporary directory"
	trap 'rm -rf "$TMP"' EXIT
	trap 'exit 1' HUP INT TERM
	umask 022
	exec 3>&1
	if [ -n "$UNDO" ]; then
		undo
		return
	fi
	if [ -z "$DRY" ]; then
		enter
	fi
	for client in $CLIENTS; do
		wanted "$client" || continue
		CHANGED=
		"setup_$client"
	done
	if [ -n "$DRY" ]; then
		return 0
	elif [ ! -s "$STATE/done" ]; then
		leave
		say "nothing was changed"
		return 0
	fi
	# So that it can be undone when the cache is gone.
	if get "$BASE/-/setup.sh" >"$TMP/setup.sh" && [ -s "$TMP/setup.sh" ] && ! cmp -s "$TMP/setup.sh" "$STATE/setup.sh"; then
		cp "$TMP/setup.sh" "$STATE/setup.sh"
	fi
	if [ -f "$STATE/setup.sh" ]; then
		say "to undo: sh $STATE/setup.sh --undo"
	fi
	return 0
}

main "$@"
