#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# One member's charon hangs, and is ended as systemctl would: its clients go on with the
# other members and hear nothing of it. And a client that comes back after a crash, through
# whatever member, has one session: its INITIAL_CONTACT counts everywhere.
# A charon's end has nothing to do with how frames find their member.
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"

charon_signal() { kill "-$2" "$(cat "$LAB_DIR/nodes/$1/charon.pid")"; }
said() { lab logs "$1" | grep "$2" >/dev/null; }

# comes_back CLIENT: it forgets all, and connects until another member answers.
comes_back()
{
	local was
	for _ in {1..8}; do
		was=$(await_owner "$1" m1)
		lab kill "$1"
		lab client "$1" up
		must 10 "$1 to have one session" has_sessions "$1" m1 1
		[[ $(owner_of "$1" m1) == "$was" ]] || return 0
	done
	fail "$1 has met $was only"
}

scenario_begin charon quiet
comes_back c2
scenario_prints[c2]=$(fingerprint c2)
victim=$(busiest m1)
witness=$(other_member "$victim")
charon_signal "$victim" STOP
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
said "$victim" 'charon has not answered' || fail "$victim has not noticed that charon hangs"
must 10 "all clients to reach the server" all_reach
charon_signal "$victim" CONT
must 30 "$victim to be a member with units again" whole "$witness"

victim=$(busiest m1)
witness=$(other_member "$victim")
charon_signal "$victim" TERM
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 10 "all clients to reach the server without $victim's charon" all_reach
lab revive "$victim"
must 30 "$victim to be a member with units again" whole "$witness"
scenario_end
