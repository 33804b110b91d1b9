#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The member that works for the most clients loses the carrier of all of its networks,
# and gets them back.
# In the multicast mode frames come as in the unicast mode.
# modes: unicast forwarding
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
scenario_begin owner-unplugged
victim=$(busiest m1)
witness=$(other_member "$victim")
lab unplug "$victim" all
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "all clients to reach the server again" all_reach
lab plug "$victim" all
must 30 "$victim to be a member again" whole "$witness"
must 20 "all clients to reach the server still" all_reach
scenario_end
