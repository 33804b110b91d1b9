#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The member that works for the most clients stops in the middle of everything, is
# replaced, and wakes up again: what it says then must not do harm.
# In the unicast mode frames come as in the multicast mode.
# modes: multicast forwarding
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
scenario_begin owner-frozen
victim=$(busiest m1)
witness=$(other_member "$victim")
lab freeze "$victim"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "all clients to reach the server again" all_reach
lab thaw "$victim"
must 30 "$victim to be a member again" whole "$witness"
must 20 "all clients to reach the server still" all_reach
scenario_end
