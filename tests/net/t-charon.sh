#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# One member's charon hangs, and is ended as systemctl would: its clients go on with the
# other members and hear nothing of it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
# A charon's end has nothing to do with how frames find their member.
if [[ -n ${LAB_SHARED-} && $MODE != multicast ]]; then
	echo "skip charon-$MODE - the same in all modes"
	exit 0
fi

charon_signal() { kill "-$2" "$(cat "$LAB_DIR/nodes/$1/charon.pid")"; }
said() { lab logs "$1" | grep "$2" >/dev/null; }

scenario_begin charon quiet
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
