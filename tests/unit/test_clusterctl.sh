#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What clusterctl makes of odd arguments, without a daemon: its exit status, and a line that
# says why. Run by `make check` in the build folder.
set -uo pipefail

failed=0
nowhere=$(mktemp -u)
long=$(printf 'x%.0s' {1..5000})

# expect STATUS TEXT WORD...: clusterctl with the words ends so, and says that.
expect()
{
	local status=$1 text=$2 said
	shift 2
	said=$(./clusterctl -s "$nowhere" "$@" 2>&1)
	local got=$?
	[[ $got == "$status" && $said == *"$text"* ]] && return
	printf 'not ok clusterctl %s: %s, %s\n' "${*:0:60}" "$got" "${said:0:200}"
	failed=1
}

expect 2 "a command is missing"
expect 2 "there is no command ''" ''
expect 2 "there is no command" "$long"
expect 2 "unrecognized option" status --bogus
expect 2 "status takes no words, not 1" status --json now
expect 2 "drain takes a member, not 0" drain
expect 2 "move takes a unit and a member, not 1" move 5
expect 2 "drain does not go with one of these options" drain m1 --json
expect 2 "expected 'session kill'" session
for unit in 5- 5-4 0x10 1024 99999999999999999999 ' 5' ''; do
	expect 2 "the work unit is '$unit'" units "$unit"
	expect 2 "the work unit is '$unit'" move "$unit" m1
done
expect 2 "--unit is '9999'" sessions --unit 9999
for words in drain undrain 'move 5' expel; do
	# shellcheck disable=SC2086
	expect 2 "no text in UTF-8" $words $'m\xff'
done
expect 2 "no text in UTF-8" expel m1 --why $'\xff'
expect 2 "no text in UTF-8" sessions --user $'\xff'
for words in status members units 'units 0-9 5' counters sessions 'drain m1' \
	'undrain m1' 'move 5 m1' 'expel m1' 'session kill m1'; do
	# shellcheck disable=SC2086
	expect 69 "phalanxd is not running: there is no socket" $words
done
expect 69 "phalanxd is not running" drain "$long"
nowhere=$long
expect 1 "the socket's name is too long" status
exit "$failed"
