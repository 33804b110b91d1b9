#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The member that works for the most clients loses its way outside, though it hears the other
# members as before: first the carrier, then, with carrier, the router behind the switch.
# Each time it hands its units over, and nobody takes it for dead.
# How frames find their member has nothing to do with that.
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# unable MEMBER WHY
unable() { ask "$1" status | jq -e --arg why "$2" '.able == false and .why == $why'; }

# gone WHY: the victim's units are with others, and it says why.
gone()
{
	must 20 "$victim to say: $1" unable "$victim" "$1"
	must 20 "$victim's units to be handed over" owns_nothing "$victim" "$witness"
	must 20 "all clients to reach the server again" all_reach
}

back()
{
	must 40 "$victim to work again" whole "$witness"
	must 20 "all clients to reach the server still" all_reach
}

net_begin "$@"
scenario_begin path-lost
victim=$(busiest m1)
witness=$(other_member "$victim")
before=$(counter "$witness" cluster.deaths)
lab unplug "$victim" outside
gone "no carrier on outside"
lab plug "$victim" outside
back
lab partition "$victim" '|' r1
gone "no probe answers on outside"
lab heal
back
(($(counter "$witness" cluster.deaths) == before)) || fail "$victim was taken for dead"
scenario_end
