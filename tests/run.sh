#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Run test binaries one after another and sum them up. Prints failures with what led to them, a line per binary, why its
# tests were skipped, once a reason, then the failures again, and last of all "N passed, N failed, N skipped".
# Exit status 0 only when something ran and nothing failed.
#
#   tests/run.sh BINARY[@SOURCE]...      V=1: a line per test, with its time     LIMIT=seconds a binary (default 1800)
#
# With @SOURCE the binary runs with RIG_SOURCE=SOURCE: tests/rig.h gives host views that source; with -old behind it, userfaultfd is
# that of Linux 6.1.
#
# The binaries are Criterion's (read through their TAP report) or plain ones (tests/test.h), told apart by
# what they print. A binary that ends badly without naming a failed test counts as one failure.

passed=0 failed=0 skipped=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# Criterion's TAP and the plain runner's lines to: outcome, tab, name, tab, reason.
tests_of() {
	awk -v OFS='\t' '
		function flush() { if (failed != "") print "fail", failed, why; failed = why = "" }
		function rest(re) { r = $0; sub(re, "", r); return r }
		function plain_name() { n = $1; sub(/:$/, "", n); return n }

		/^(ok|not ok) - /          { flush() }
		/^ok - .*# SKIP/           { print "skip", $3, rest(".*# SKIP *"); next }
		/^ok - /                   { print "pass", $3, ""; next }
		/^not ok - /               { failed = $4; why = rest("^not ok - [^ ]+ *"); next }
		/^ +Assertion failed: /    { if (failed != "") why = rest("^ +Assertion failed: *") }

		/^[^ ]+::[^ ]+: ok$/       { print "pass", plain_name(), "" }
		/^[^ ]+::[^ ]+: skipped: / { print "skip", plain_name(), rest("^[^ ]+ skipped: ") }
		/^[^ ]+::[^ ]+: FAILED: /  { print "fail", plain_name(), rest("^[^ ]+ FAILED: ") }
		END { flush() }
	' "$@"
}

# Criterion tells it with --verbose.
time_of() {
	sed -n "s/^\[PASS\] $1: \((.*s)\)\$/ \1/p" "$work/log"
}

# Why tests were skipped: once a reason, how many, and which if they are few. One line if it was all of them.
reasons() {
	awk -F'\t' -v passed="$2" '
		$1 == "skip" { if (!n[$3]++) order[++reasons] = $3; sub(/.*::/, "", $2); names[$3] = names[$3] " " $2 }
		END {
			for (i = 1; i <= reasons; i++) {
				why = order[i]
				which = reasons == 1 && passed == 0 ? "all" : n[why] > 3 ? n[why] : substr(names[why], 2)
				printf "skipped, %s: %s\n", which, why
			}
		}' "$1"
}

for bin; do
	name=${bin##*/tests/} source=
	case $bin in *@*) source=${bin##*@} bin=${bin%@*} ;; esac
	# Tests of whole machines measure time: one at a time. The others may share the CPUs.
	jobs=$(nproc)
	case $name in kvm/*) jobs=1 ;; esac
	: >"$work/tap"
	begin=$EPOCHREALTIME
	RIG_SOURCE=$source timeout -k 10 "${LIMIT:-1800}" "$bin" ${V:+--verbose} --tap="$work/tap" -j"$jobs" \
		</dev/null >"$work/log" 2>&1
	status=$?
	took=$(((${EPOCHREALTIME/./} - ${begin/./}) / 10000))

	tests_of "$work/tap" "$work/log" >"$work/tests"
	p=0 f=0 s=0
	while IFS=$'\t' read -r outcome test why; do
		case $outcome in
		pass) p=$((p + 1)) && [ -z "$V" ] || echo "$test: ok$(time_of "$test")" ;;
		skip) s=$((s + 1)) && [ -z "$V" ] || echo "$test: skipped: $why" ;;
		fail)
			f=$((f + 1))
			echo "$test: FAILED${why:+: $why}"
			echo "$name: $test${why:+: $why}" >>"$work/failures"
			;;
		esac
	done <"$work/tests"
	if [ $status -ne 0 ] && [ $f -eq 0 ]; then
		f=1
		case $status in
		124 | 137) why="killed after ${LIMIT:-1800} s" ;;
		*) why="exit status $status" ;;
		esac
		echo "$name: FAILED: $why"
		echo "$name: $why" >>"$work/failures"
	fi
	[ $f -eq 0 ] || grep -vE '^\[(RUN |PASS)\] ' "$work/log" | sed 's/^/    | /'
	printf '  %-24s %3d passed, %d failed, %d skipped  (%d.%02d s)\n' \
		"$name" $p $f $s $((took / 100)) $((took % 100))
	[ $s -eq 0 ] || reasons "$work/tests" "$p" | sed 's/^/      /'
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done

[ $failed -eq 0 ] || sed 's/^/failed: /' "$work/failures"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
